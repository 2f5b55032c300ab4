"""Detections as subtitles, so that people watch the video with the segments on it."""

import itertools

import numpy as np

from co2net_runtime.detections import Detections


def to_srt(found: Detections) -> str:
    """Return SubRip text: at each moment the labels going on, the best score first.

    Segments overlap and nest, and players show only one or two cues at a time: so a cue lasts
    from one change to the next and names all that goes on in it; of nested segments of one label
    the best score is shown.
    """
    edges = np.unique(found.segments)
    cues: list[tuple[float, float, str]] = []
    for start, end in itertools.pairwise(edges.tolist()):
        going_on = found.select((found.segments[:, 0] <= start) & (found.segments[:, 1] >= end))
        best: dict[str, float] = {}
        for record in going_on.by_score().to_records():
            best.setdefault(record["label"], record["score"])
        text = "\n".join(f"{label} {score:.2f}" for label, score in best.items())
        if cues and cues[-1][1:] == (start, text):
            cues[-1] = (cues[-1][0], end, text)
        elif text:
            cues.append((start, end, text))
    return "".join(
        f"{number}\n{_time(start)} --> {_time(end)}\n{text}\n\n"
        for number, (start, end, text) in enumerate(cues, 1)
    )


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
