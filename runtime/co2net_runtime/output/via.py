"""Detections as a project of the VGG Image Annotator 3, for its video annotator.

Format 3.1.1, as the tool's CodeDoc.md describes it: files, a view for each, and as metadata a
temporal segment [start, end] in seconds with its class as the value of the attribute "action".
"""

import time
from collections.abc import Mapping
from typing import Any

from co2net_runtime.detections import Detections

_TEMPORAL_SEGMENT = "FILE1_Z2_XY0"
_TEXT, _VIDEO = 1, 4  # types of attribute and file
_ADDRESS, _FILE = 2, 3  # where a file lies


def to_project(videos: Mapping[str, tuple[Detections, str]]) -> dict[str, Any]:
    """Return a project.

    Args:
        videos: By name, the segments to show and where the tool finds the video.
    """
    files, views, metadata = {}, {}, {}
    for number, (found, media) in enumerate(videos.values(), 1):
        key = str(number)
        files[key] = {
            "fid": key,
            "fname": media.rpartition("/")[2],
            "type": _VIDEO,
            "loc": _ADDRESS if "://" in media else _FILE,
            "src": media,
        }
        views[key] = {"fid_list": [key]}
        for index, one in enumerate(found, 1):
            metadata[f"{key}_{index:06}"] = {
                "vid": key,
                "flg": 0,
                "z": [one.start_s, one.end_s],
                "xy": [],
                "av": {"1": one.label},
            }
    return {
        "project": {
            # the tool's own marks of a project that is shared with nobody
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "co2net",
            "data_format_version": "3.1.1",
            "creator": "co2net",
            "created": int(time.time() * 1000),
            "vid_list": list(views),
        },
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {"file_content_align": "center"},
        },
        "attribute": {
            "1": {
                "aname": "action",
                "anchor_id": _TEMPORAL_SEGMENT,
                "type": _TEXT,
                "desc": "Class of the action",
                "options": {},
                "default_option_id": "",
            }
        },
        "file": files,
        "metadata": metadata,
        "view": views,
    }
