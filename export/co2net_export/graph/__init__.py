"""PyTorch model to ONNX graph.

inference_model  the model as it is deployed: masks, no dropout
live_model       the model for the next snippets of a live stream
shapes           example inputs and dynamic axes
convert          torch.onnx, and what is removed from its output
two_d            layers over time as 2-D convolutions, for files that GPUs run
session          an ONNX model in ONNX Runtime, to compare with
write            the finished file
"""
