"""Evidence that an ONNX file computes what the checkpoint computes.

parity     the levels, one after another: tensors, decisions, mAP
tensors    differences of outputs
decisions  differences of segments
gate       the bounds
report     the result, as the contract keeps it
videos     the videos it is judged on
speed      whether a lower precision is faster here
"""
