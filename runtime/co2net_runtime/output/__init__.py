"""Detections to files: JSON, CSV, subtitles, timelines.

sinks          result files that grow video by video
formats        one Format per format: written and read back
subtitles      SRT
choices        the formats that command lines offer
timeline       the data of a timeline
pictures       which picture files are written, and the ground truth they show
timeline_plot  PNG and SVG by matplotlib
timeline_page  HTML
"""
