"""Evidence that an ONNX file computes what the checkpoint computes.

parity     the levels, one after another: tensors, decisions, mAP
tensors    differences of outputs
gate       the bounds
report     the result, as the contract keeps it (decisions: co2net_runtime.decoding)
videos     the videos it is judged on
speed      whether a lower precision is faster here
"""
