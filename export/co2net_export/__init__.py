"""CO2-Net checkpoint -> ONNX artefacts that carry proof of their parity.

export        Exporter: convert, lower, optimize, compare with PyTorch, write
graph         PyTorch model -> ONNX graph, and the finished file
precision     fp16 and int8
cpu           --optimize cpu: the fp32 graph rewritten for CPUs
parity        tensors, decisions and mAP against PyTorch, and the gate
sensitivity   which layers cost accuracy, and which stay in float
backbone      weights of a backbone -> ONNX
model_card    the contract as a page for people
names         names and forms of artefacts: which go together
cli           co2net-export; report_text: what it says of a file; commands: the entry points
"""

from co2net_runtime.version import VERSION as __version__

__all__ = ["__version__"]
