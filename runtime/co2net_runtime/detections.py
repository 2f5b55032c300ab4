"""Detections of one video, and the files they are written to and read from."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.files.text import label_name, normalized, read_json

FORMAT_VERSION = "co2net 1"

# the double before 1, and the least one of full precision
_BELOW_ONE, _ABOVE_ZERO = float(np.nextafter(1, 0)), float(np.finfo(np.float64).tiny)

# of a time in a result file: beyond all videos, and far from where arithmetic overflows
_LONGEST_S = 1e12

_TWICE = "{!r} is there twice: which one counts cannot be told"


def confidences(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return scores (any shape) as numbers between 0 and 1, exclusive, in the same order.

    confidence = 1 / (1 + exp(-score)), the logistic function: 0.5 at score 0, 0.95 at 3. It
    orders segments as the score does and does not depend on the other segments. It is not a
    calibrated probability. Scores beyond about 37 all have the number next to 1.
    """
    logistic = np.exp(-np.logaddexp(0.0, -np.asarray(scores, dtype=np.float64)))
    return np.clip(logistic, _ABOVE_ZERO, _BELOW_ONE)


@dataclass(frozen=True)
class Segment:
    """One segment of a video in which an action was found.

    Example:
        >>> Segment(2.5, 4.0, score=0.0, label="HighJump").confidence
        0.5
    """

    start_s: float  # seconds
    end_s: float  # seconds
    score: float  # unbounded, can be negative
    label: str  # name of the class

    @property
    def confidence(self) -> float:
        """The score as a number between 0 and 1 (`confidences`)."""
        return float(confidences(self.score))


@dataclass(frozen=True)
class Detections:
    """The segments found in one video, in the decoder's order.

    Iterating gives a `Segment` each; the arrays hold the same.

    Example:
        for segment in localizer(features).at_operating_point():
            print(segment.label, segment.start_s, segment.end_s, segment.score)
    """

    segments: npt.NDArray[np.float64]  # (N, 2) start and end in seconds
    scores: npt.NDArray[np.float64]  # (N,) unbounded, can be negative
    labels: npt.NDArray[np.int64]  # (N,) indices into `classes`
    classes: tuple[str, ...]  # the model's C class names

    def __post_init__(self) -> None:
        count = len(self.scores)
        shapes = (self.segments.shape, self.scores.shape, self.labels.shape)
        if shapes != ((count, 2), (count,), (count,)):
            raise ValueError(f"expected segments (N, 2), scores (N,), labels (N,), got {shapes}")

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Segment]:
        for (start, end), score, label in zip(
            self.segments.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True
        ):
            yield Segment(start, end, score, self.classes[label])

    @property
    def confidences(self) -> npt.NDArray[np.float64]:
        """The scores as numbers between 0 and 1 (`confidences`), (N,)."""
        return confidences(self.scores)

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Detections":
        """Return the detections that a mask (N,) or an index array picks."""
        return Detections(self.segments[keep], self.scores[keep], self.labels[keep], self.classes)

    def by_score(self) -> "Detections":
        """Return the detections in descending order of score; ties keep their order."""
        return self.select(np.argsort(-self.scores, kind="stable"))

    def best(self, min_score: float | None = None, top_k: int | None = None) -> "Detections":
        """Return those of at least `min_score`, at most the `top_k` best, in the same order."""
        keep = np.ones(len(self), dtype=bool) if min_score is None else self.scores >= min_score
        if top_k is not None:
            order = np.argsort(-np.where(keep, self.scores, -np.inf), kind="stable")
            keep[order[top_k:]] = False
        return self.select(keep)

    def best_per_component(self) -> "Detections":
        """Return the best segment of each component and class: none overlaps in its class.

        A component is a run of snippets above the lowest attention threshold; all segments of a
        class in it lie within the longest one. The best is the first that soft-NMS took, so these
        must be all detections of the decoder, in its order. Live streams have the same choice.
        """
        by_place = np.lexsort((-self.segments[:, 1], self.segments[:, 0], self.labels))
        first: dict[int, int] = {}  # a component's number -> index of its best
        component, label, reach = -1, -1, -np.inf
        for index in by_place.tolist():
            start, end = self.segments[index]
            if self.labels[index] != label or start >= reach:
                component, label, reach = component + 1, self.labels[index], end
            first[component] = min(first.get(component, index), index)
        return self.select(np.array(sorted(first.values()), dtype=np.intp))

    def at_operating_point(self, share: float = 0.1) -> "Detections":
        """Return those whose score is positive and at least `share` of the video's best."""
        best = self.scores.max(initial=0.0)
        return self.select((self.scores > 0) & (self.scores >= share * best))

    def to_records(self) -> list[dict[str, Any]]:
        """Return the segments as ActivityNet result records, times in seconds, full precision.

        The key "confidence" is an addition of co2net.
        """
        return [
            {"label": one.label, "score": one.score, "confidence": confidence,
             "segment": [one.start_s, one.end_s]}
            for one, confidence in zip(self, self.confidences.tolist(), strict=True)
        ]  # fmt: skip

    @staticmethod
    def from_records(records: Any, classes: tuple[str, ...], where: str) -> "Detections":
        """Read ActivityNet result records; numbers may be strings.

        Raises InputError for a damaged record, end < start, a value that is not finite or a label
        outside `classes`; `where` names the source.
        """
        index = {normalized(name): label for label, name in enumerate(classes)}
        rows = []
        try:
            for record in records:
                start, end = (float(value) for value in record["segment"])
                label, score = label_name(record["label"]), float(record["score"])
                if label not in index:
                    raise InputError(f"{where}: unknown label {label!r}")
                within = -_LONGEST_S <= start <= end <= _LONGEST_S
                if not (within and math.isfinite(score)):
                    raise InputError(
                        f"{where}: a segment from {start} to {end} with score {score}: expected "
                        "finite numbers and end >= start"
                    )
                rows.append((start, end, score, index[label]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where}: expected records with 'label', 'score' and 'segment': [start, end] "
                f"({type(error).__name__}: {error})"
            ) from error
        table = np.array(rows, dtype=np.float64).reshape(-1, 4)
        return Detections(table[:, :2], table[:, 2], table[:, 3].astype(np.int64), classes)


def results_document(
    results: Mapping[str, Detections], external_data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return an ActivityNet result document; `external_data` says what made it."""
    return {
        "version": FORMAT_VERSION,
        "results": {video: found.to_records() for video, found in results.items()},
        "external_data": dict(external_data),
    }


def read_results(
    path: str | os.PathLike[str], classes: Iterable[str] | None = None
) -> dict[str, Detections]:
    """Read an ActivityNet result file: {"results": {video: [record, ...]}}.

    Args:
        path: The file.
        classes: The known labels; without them, the labels found, sorted.

    Raises:
        InputError: The file is missing, empty or not such JSON, it lists a video twice, or a
            record is damaged.
    """
    document = read_json(path, "predictions", _without_repeats)
    results = document.get("results") if isinstance(document, dict) else None
    return check_results(results, classes, str(path))


def check_results(results: Any, classes: Iterable[str] | None, path: str) -> dict[str, Detections]:
    """Return {video: detections} of {video: records}; arguments and errors as in `read_results`."""
    if not isinstance(results, dict) or not all(isinstance(v, list) for v in results.values()):
        raise InputError(f'{path}: expected ActivityNet results, {{"results": {{video: [...]}}}}')
    if classes is None:
        try:
            found = {label_name(record["label"]) for each in results.values() for record in each}
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: a result record without a 'label'") from error
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        classes = sorted(found)
    names = tuple(classes)
    read: dict[str, Detections] = {}
    for video, records in results.items():
        if normalized(video) in read:
            raise InputError(f"{path}: {_TWICE.format(video)}")
        read[normalized(video)] = Detections.from_records(
            records, names, f"{path}: {normalized(video)}"
        )
    return read


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; raise ValueError if it names something twice, as JSON allows."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(_TWICE.format(name))
        found[name] = value
    return found
