"""A model file's description of itself: its contract, and the ONNX file that carries it.

contract     Contract: classes, timing, decode options, precision, graph kind
backbone     BackboneContract: how pixels are prepared for a backbone, and what comes out
onnx_file    metadata and weight offsets of an ONNX file, read without the package onnx
wire_format  protobuf's wire format, as far as onnx_file needs it
"""
