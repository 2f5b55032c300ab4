"""Features to activations: one opened engine, whatever the number and length of videos.

network   Network: one model's engine, its chunk graph, and which videos share a call
batching  which videos share a call of the network
chunks    videos too long to run whole
pipeline  many files, read ahead while the network runs
"""
