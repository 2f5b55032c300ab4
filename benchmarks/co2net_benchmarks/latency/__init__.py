"""Time and memory of targets.

run                 one latency run, from targets to results
single_stream       one video at a time, and cold starts
offline             throughput over a mix of lengths
output_differences  whether the targets compute the same
tables              the results for people
"""
