"""Archives of feature files on the actors of Ray Data: shard files that appear whole.

cluster   one row of Ray Data per shard; what comes back is a row of counts
worker    one actor: opens the model once, takes one shard after another
inputs    the feature files of an archive, here or in an object store
videos    videos of an archive: decoding and flow on CPUs, backbones in the actor
"""
