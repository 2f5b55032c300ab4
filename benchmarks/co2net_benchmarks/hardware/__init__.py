"""The machine behind a figure.

machine   its description; jetson: what a Jetson adds
gemm      its best matrix product
"""
