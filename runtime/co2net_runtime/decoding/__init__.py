"""Attention and class activations to segments, in numpy.

detect     detect: the network's outputs -> Detections in seconds
proposals  classes, thresholded runs, outer-inner scores
nms        soft-NMS on nested segments
decisions  what two files decide differently
"""
