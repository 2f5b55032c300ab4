"""co2net-bench.

group     the list of its commands, each imported when it is run
options   options that several of them share, and where results go

accuracy, parity, describe, latency, report, runs, suite: a command each
"""
