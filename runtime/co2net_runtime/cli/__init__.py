"""The command lines co2net-infer, co2net-engine and co2net-doctor.

console         what all of the project's command lines share: errors, signals, progress
engine_options  the options that choose an engine
infer, infer_job, infer_run, live, engine, doctor
"""
