"""Detection mAP.

mean_ap   arrays to mAP
protocol  detections and annotations in seconds to the arrays of a protocol
"""
