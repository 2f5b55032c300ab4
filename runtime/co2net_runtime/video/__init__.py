"""Video -> feature rows: decode, resample, prepare, flow, backbones.

decode     frames with time stamps out of a file
ticks      frames -> ticks of a fixed rate, by time
resize     resizing without antialiasing, center crop
flow       optical flow by name, and its 256 levels
snippets   ticks -> clips of levels, for both streams
backbone   one backbone opened in an engine
extract    Extractor: all of it, overlapped
stages     seconds of each stage of an extraction
identity   Extraction: how features were made
files      video files in; feature files and extraction.json out
localizer  VideoLocalizer: from a video to segments
"""

# taken from folders; a file that is named may have any suffix
SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".flv", ".ogv"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".mxf"),
)
