"""An archive cut into shards: which videos are whose, result files that appear whole, one job."""
