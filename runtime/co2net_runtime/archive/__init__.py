"""Archives of feature files on the actors of Ray Data: shard files that appear whole."""
