"""Attention and class activations to segments, in numpy.

proposals  classes, thresholded runs, outer-inner scores
nms        soft-NMS on nested segments
"""
