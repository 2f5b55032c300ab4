"""The targets of a measurement, each in a process of its own.

runner    Target, Runner and RunnerInfo: the ideas
runners   one runner per kind of target, and the list of them
targets   the command line's way to name targets
pool      all targets of a measurement, taken in turns
process, worker      the two ends of one pipe
plain_export         the alternative to co2net-export: a baseline
published_decoding   the published post-processing, transcribed: a baseline
"""
