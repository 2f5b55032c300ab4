"""Features to activations: one opened engine, whatever the number and length of videos.

batching  which videos share a batch
chunks    videos too long to run whole
pipeline  many files, read ahead while the network runs
"""
