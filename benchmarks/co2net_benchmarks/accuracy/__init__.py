"""mAP of predictions or of a model, error analysis, comparison of two."""
