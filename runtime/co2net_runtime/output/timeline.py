"""The content of a picture of one video: attention, activation, segments, ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.detections import Detections
from co2net_runtime.network.network import Activations


@dataclass(frozen=True)
class Bar:
    """One segment in seconds; the score is None for ground truth."""

    label: str
    start_s: float
    end_s: float
    score: float | None = None


@dataclass(frozen=True)
class Timeline:
    """One video: attention, activation of the classes that matter, segments, ground truth."""

    video: str
    snippet_s: float
    attention: npt.NDArray[np.float32]  # (T,)
    threshold: float  # the lowest attention that starts a segment
    labels: tuple[str, ...]  # those of `segments`, the best first, then those of `truth` alone
    curves: Mapping[str, npt.NDArray[np.float32]]  # cas x attention (T,) by label of the model
    segments: tuple[Bar, ...]
    truth: tuple[Bar, ...] | None = None  # None: there is no ground truth

    @property
    def duration_s(self) -> float:
        """Where the last snippet ends."""
        return len(self.attention) * self.snippet_s

    @property
    def edges_s(self) -> npt.NDArray[np.float64]:
        """Where snippets start and end, (T + 1,) float64."""
        return np.arange(len(self.attention) + 1, dtype=np.float64) * self.snippet_s


def make_timeline(
    video: str,
    activations: Activations,
    shown: Detections,
    contract: Contract,
    truth: Sequence[Bar] | None = None,
) -> Timeline:
    """Return the timeline of one video with the segments to show."""
    best_first = shown.by_score()
    segments = tuple(
        Bar(shown.classes[label], start, end, score)
        for label, (start, end), score in zip(
            best_first.labels.tolist(),
            best_first.segments.tolist(),
            best_first.scores.tolist(),
            strict=True,
        )
    )
    labels = dict.fromkeys(bar.label for bar in (*segments, *(truth or ())))
    weighted = activations.cas * activations.attention[:, np.newaxis]
    return Timeline(
        video=video,
        snippet_s=contract.timing.snippet_s,
        attention=activations.attention,
        threshold=contract.decode.threshold_min,
        labels=tuple(labels),
        curves={
            label: weighted[:, contract.classes.index(label)]
            for label in labels
            if label in contract.classes
        },
        segments=segments,
        truth=None if truth is None else tuple(truth),
    )
