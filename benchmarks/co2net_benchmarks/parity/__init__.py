"""Artefacts against the PyTorch model.

run          one parity run, from files to results
reference    the videos to compare on, and PyTorch's outputs for them
compare      one artefact: tensors, decisions, mAP
margins      how near the decisions were to the thresholds
bisection    the first tensor inside the graph that differs
results      the "results" of a run file; tables: the same for people
"""
