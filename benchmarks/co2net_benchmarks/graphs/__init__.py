"""The content of ONNX files.

describe   contract, layers, weights, arithmetic
branches   the branches of a file optimized for the CPU, each as a graph of its own
"""
