"""ONNX Runtime.

backend       a model in a session
module        the module onnxruntime, imported in one place
cpu           the CPU session of a graph optimized for CPUs
providers     execution providers and their options
trt_provider  options of ONNX Runtime's TensorRT provider
"""
