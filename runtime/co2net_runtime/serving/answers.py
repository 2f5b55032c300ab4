"""The answers to the requests of one batch; nothing here knows of Triton."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.detections import Detections
from co2net_runtime.errors import BackendError, Co2netError
from co2net_runtime.localizer import Localizer

# the outputs of the served model, by name
OUTPUTS = ("segments", "scores", "labels", "counts")


def answer(
    localizer: Localizer, requests: Sequence[npt.NDArray[Any]]
) -> list[list[Detections] | Co2netError]:
    """Localize the videos of some requests; a request that cannot be used fails alone.

    Args:
        localizer: The model.
        requests: Features (B, T, D) of each request: B videos of one length.

    Returns:
        For each request the detections of its B videos, or its error.
    """
    videos = [video for request in requests for video in request]
    try:
        if len(requests) > 1:
            found = iter(localizer.batch(videos))
            return [[next(found) for _ in request] for request in requests]
        return [[localizer(video) for video in videos]]
    except Co2netError as error:
        if len(requests) == 1:
            return [error]
    except MemoryError:
        if len(requests) == 1:
            return [BackendError(f"out of memory: features of shape {requests[0].shape}")]
    return [answer(localizer, [request])[0] for request in requests]


def to_tensors(found: Sequence[Detections]) -> dict[str, npt.NDArray[Any]]:
    """Return the detections of B videos as the tensors of a reply, padded to the longest list.

    segments (B, N, 2) float64 in seconds, scores (B, N) float64, labels (B, N) int64, and
    counts (B, 1) int64: how many of the N are the video's.
    """
    most = max(map(len, found), default=0)
    segments = np.zeros((len(found), most, 2))
    scores = np.zeros((len(found), most))
    labels = np.zeros((len(found), most), np.int64)
    for row, one in enumerate(found):
        segments[row, : len(one)] = one.segments
        scores[row, : len(one)] = one.scores
        labels[row, : len(one)] = one.labels
    counts = np.array([[len(one)] for one in found], np.int64).reshape(-1, 1)
    return dict(zip(OUTPUTS, (segments, scores, labels, counts), strict=True))


def from_tensors(
    tensors: Mapping[str, npt.NDArray[Any]], classes: tuple[str, ...]
) -> list[Detections]:
    """Return the detections of which `to_tensors` made the tensors."""
    rows = zip(*(tensors[name] for name in OUTPUTS), strict=True)
    return [
        Detections(segments[:count], scores[:count], labels[:count], classes)
        for segments, scores, labels, (count,) in rows
    ]
