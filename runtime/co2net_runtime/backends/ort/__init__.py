"""ONNX Runtime.

backend       a model in a session
module        the module onnxruntime, imported in one place
cpu           the CPU session of a graph optimized for CPUs
bound         a session on arrays in a GPU's memory
providers     execution providers and their options
trt_provider  options of ONNX Runtime's TensorRT provider
"""
