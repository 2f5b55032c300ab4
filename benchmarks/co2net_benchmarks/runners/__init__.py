"""What is measured, each in a process of its own.

targets   what was asked for
runners   how each kind of target runs
pool      processes taken in turns
process, worker   the two ends of one pipe
"""
