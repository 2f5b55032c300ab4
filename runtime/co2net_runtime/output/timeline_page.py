"""The timeline as a page by itself: hover for values, zoom and pan; no network, no libraries."""

import dataclasses
import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from co2net_runtime.output.timeline import Timeline

TEMPLATE = Path(__file__).with_name("timeline_page.html")


def to_html(timeline: "Timeline", film: str | None = None) -> str:
    """Return the page.

    Args:
        timeline: What it shows.
        film: Where the video file is, seen from the page; None: the page has no video.
    """
    data = {
        "film": None if film is None else quote(film),
        "snippet_s": timeline.snippet_s,
        "attention": _rounded(timeline.attention),
        "threshold": timeline.threshold,
        "labels": timeline.labels,
        "curves": {label: _rounded(curve) for label, curve in timeline.curves.items()},
        "segments": [dataclasses.asdict(bar) for bar in timeline.segments],
        "truth": None
        if timeline.truth is None
        else [dataclasses.asdict(bar) for bar in timeline.truth],
    }
    # a label or a file name must not end the script it stands in
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8")
    page = page.replace("__CLICK__", "" if film is None else ", click: the video goes there")
    page = page.replace("__TITLE__", html.escape(timeline.video))
    return page.replace("__DATA__", text)


def film_address(film: Path, page: Path) -> str:
    """Return where a video file is, seen from a page."""
    return Path(os.path.relpath(film, page.parent)).as_posix()


def _rounded(values: npt.NDArray[np.float32]) -> list[float]:
    """Return the values with as many digits as a reader can use: they are most of the page."""
    return [round(value, 4) for value in values.tolist()]
