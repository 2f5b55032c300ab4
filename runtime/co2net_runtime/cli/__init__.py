"""The command lines of this package.

console           shared by all of them: errors, signals, progress
entry, commands   the way into a command, which Ctrl-C ends even while it is imported; their list
engine_options, model_argument, video_options   options that several of them take

infer       co2net-infer: its options; infer_run, infer_job: its work; infer_video, infer_shard:
            videos and --shard
live        co2net-infer --live
extract     co2net-extract; extract_run: its work
engine      co2net-engine
doctor      co2net-doctor
archive     co2net-archive; archive_run: its work
join        co2net-join
triton      co2net-triton; triton_probe: co2net-triton-probe
"""
