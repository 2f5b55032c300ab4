"""Backbone weights to an ONNX artefact that carries its proof of parity.

cli     co2net-backbone
export  the pipeline: weights or an ONNX file -> proven artefact
graph   I3D as an ONNX graph
wrap    any other backbone, given as an ONNX file
int8    which activations of a backbone are quantized, and their ranges
clips   clips to calibrate and to judge on
parity  how far features are from the reference's, and the bounds
"""
