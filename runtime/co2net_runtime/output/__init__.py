"""Detections to files.

sinks          result files that grow video by video
formats        one Format per format: written and read back
choices        the formats that command lines offer
subtitles      SRT
label_studio, elan, via   files for annotation tools
timeline       the data of a timeline
pictures       which picture files are written, and the ground truth they show
timeline_plot  PNG and SVG by matplotlib
timeline_page  HTML; index_page: the list of a folder's pages
colors         colors that readers with any color vision tell apart
"""
