"""What a picture of one video shows, and the files the pictures go to."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.network.network import Activations
from co2net_runtime.output.timeline_page import to_html
from co2net_runtime.output.timeline_plot import require_matplotlib, save_plot


@dataclass(frozen=True)
class Bar:
    """One segment in seconds; the score is None for ground truth."""

    label: str
    start_s: float
    end_s: float
    score: float | None = None


@dataclass(frozen=True)
class Timeline:
    """One video: attention, activation of the classes that matter, segments, ground truth.

    attention (T,) float32. labels: of `segments`, the best first, then those of `truth` alone.
    curves: cas x attention (T,) float32 of each label that the model knows. threshold: the lowest
    attention that starts a segment. truth: None where there is none to compare with.
    """

    video: str
    snippet_s: float
    attention: npt.NDArray[np.float32]
    threshold: float
    labels: tuple[str, ...]
    curves: Mapping[str, npt.NDArray[np.float32]]
    segments: tuple[Bar, ...]
    truth: tuple[Bar, ...] | None = None

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
    """Return the timeline of one video with the segments to be shown."""
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
        snippet_s=float(contract.timing.to_seconds(1)),
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


class Pictures:
    """Draws the timeline of one video after another into a folder."""

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str] = ("png",),
        ground_truth: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepare. formats: of PICTURES. ground_truth: an ActivityNet-style annotation JSON.

        Raises MissingDependencyError if matplotlib is needed and not there, InputError if the
        annotations cannot be read.
        """
        self._folder = folder
        self._truth = None if ground_truth is None else read_ground_truth(ground_truth)
        self._writers = {name: _writer(name) for name in dict.fromkeys(formats)}

    def draw(
        self, video: str, activations: Activations, shown: Detections, contract: Contract
    ) -> list[Path]:
        """Write VIDEO.png and the like, and return their paths."""
        truth = None if self._truth is None else self._truth.get(video, [])
        timeline = make_timeline(video, activations, shown, contract, truth)
        paths = []
        for name, write in self._writers.items():
            paths.append(self._folder / f"{video}.{name}")
            write(timeline, paths[-1])
        return paths


def read_ground_truth(path: str | os.PathLike[str]) -> dict[str, list[Bar]]:
    """Read the segments by video from an ActivityNet-style annotation JSON.

    Raises InputError if the file is missing or no such JSON.
    """
    try:
        database = json.loads(Path(path).read_text(encoding="utf-8"))["database"]
        return {
            video: [
                Bar(str(one["label"]), float(one["segment"][0]), float(one["segment"][1]))
                for one in entry.get("annotations", [])
            ]
            for video, entry in database.items()
        }
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f'{path}: expected annotations, {{"database": {{video: {{"annotations": [...]}}}}}}'
        ) from error


def _writer(name: str) -> Callable[[Timeline, Path], None]:
    if name == "html":
        return lambda timeline, path: write_text(path, to_html(timeline))
    require_matplotlib()
    return save_plot
