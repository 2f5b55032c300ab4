"""Artefacts against the PyTorch model: tensors, decisions, mAP, first diverging tensor."""
