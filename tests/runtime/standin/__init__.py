"""A box with a pretended GPU: stand-ins of TensorRT and the CUDA driver that keep their contracts.

The engine computes through ONNX Runtime. What the real libraries answer with False, None or an
error code, the stand-ins answer alike; what is undefined behaviour there (a shape after the
address, a buffer too small, a result read before the stream was synchronized, a copy while a
launch is recorded) is a ContractBreach here.
"""
