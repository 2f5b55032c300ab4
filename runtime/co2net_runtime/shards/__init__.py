"""An archive cut into shards, for job arrays and clusters.

plan     which videos belong to which shard
folder   the folder of a job: its manifest, and shard files that appear whole
sink     the result file of one shard
results  the results of a job, read back
"""
