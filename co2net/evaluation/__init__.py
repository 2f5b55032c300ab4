"""Detections against annotations.

mean_ap          arrays -> mAP, of detections and of video labels
protocol         detections and annotations in seconds -> the arrays of a protocol, and their mAP
recall           recall@k
error_analysis   types of errors, and what each costs
"""
