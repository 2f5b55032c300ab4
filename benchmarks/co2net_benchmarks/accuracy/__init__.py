"""Predictions or a model on annotated videos.

judge        detections of a file or a model -> their evaluation
comparison   changes between two of them
protocols    tIoU thresholds as a user writes them, and who uses which
results      the "results" of a run file; tables: the same for people
"""
