"""Detections to files: JSON, CSV, subtitles, timelines.

sinks          result files that grow video by video
formats        one writer per format
subtitles      SRT and WebVTT
choices        which segments a picture or a subtitle shows
timeline       the data of a timeline
pictures       which picture files are written, and the ground truth they show
timeline_plot  PNG and SVG by matplotlib
timeline_page  HTML
"""
