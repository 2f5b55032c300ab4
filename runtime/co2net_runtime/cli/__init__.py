"""The command lines co2net-infer, co2net-engine and co2net-doctor.

console         shared by all command lines: errors, signals, progress
engine_options  the options that choose an engine
entry           the way into a command, which Ctrl-C ends even while it is imported
infer, infer_job, infer_run, live, engine, doctor
"""
