"""Annotated videos, checked, with classes as indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.files.records import nearest

Item = TypeVar("Item")

# (train, test) of the datasets in use; the first pair of which both exist is the default
_CONVENTIONS: tuple[tuple[str | None, str | None], ...] = (
    ("training", "validation"),
    ("train", "test"),
    ("train", "validation"),
    ("train", "val"),
    ("training", "test"),
    ("validation", "test"),
    ("training", None),  # a file of one split alone; "validation" may be either
    ("train", None),
    (None, "test"),
)


@dataclass(frozen=True)
class Video:
    """One annotated video."""

    name: str
    subset: str  # as the dataset spells it
    duration_s: float | None  # None where the dataset does not say
    labels: tuple[int, ...]  # video-level class indices, ascending: what weak supervision learns
    segments: npt.NDArray[np.float64]  # (N, 2): start and end in seconds
    segment_labels: npt.NDArray[np.int64]  # (N,): their class indices
    ambiguous: npt.NDArray[np.float64]  # (M, 2): intervals in seconds that count neither way
    fps: float | None = None  # its own frame rate, where the dataset states it


@dataclass(frozen=True)
class Annotations:
    """The annotations of a dataset."""

    classes: tuple[str, ...]  # names in index order
    videos: tuple[Video, ...]  # in dataset order
    warnings: tuple[str, ...] = ()  # oddities, one line each

    @property
    def subsets(self) -> tuple[str, ...]:
        """The names of the subsets, in order of appearance; case does not tell them apart."""
        spelled: dict[str, str] = {}
        for video in self.videos:
            spelled.setdefault(video.subset.casefold(), video.subset)
        return tuple(spelled.values())

    def subset(self, name: str) -> tuple[Video, ...]:
        """Return the videos of a subset, in dataset order; the name's case does not matter.

        Raises InputError if there is none.
        """
        videos = tuple(v for v in self.videos if v.subset.casefold() == name.casefold())
        if not videos:
            raise InputError(f"no video is in the subset {name!r}{nearest(name, self.subsets)}")
        return videos

    def label_matrix(self, videos: Sequence[Video]) -> npt.NDArray[np.float32]:
        """Return the video-level labels of N videos, (N, C) float32, 1 where present."""
        matrix = np.zeros((len(videos), len(self.classes)), dtype=np.float32)
        for row, video in enumerate(videos):
            matrix[row, list(video.labels)] = 1
        return matrix


def train_test_subsets(
    annotations: Annotations, train: str | None = None, test: str | None = None
) -> tuple[str | None, str | None]:
    """Return the subsets to train and to test on, as the dataset spells them.

    A given name counts, whatever its case. What is not given follows the convention that the
    subsets show: training and validation (ActivityNet), train and test, or validation and test
    (THUMOS14), or the name alone where one of the two is missing; None where none fits.

    Raises InputError if a given name is no subset.
    """
    spelled = {name.casefold(): name for name in annotations.subsets}
    there = {*spelled, None}
    fitting = (pair for pair in _CONVENTIONS if there.issuperset(pair))
    default = next(fitting, (None, None))

    def choose(given: str | None, otherwise: str | None) -> str | None:
        if given is None:
            return None if otherwise is None else spelled[otherwise]
        if given.casefold() not in spelled:
            known = nearest(given, annotations.subsets)
            raise InputError(f"no video is in the subset {given!r}{known}")
        return spelled[given.casefold()]

    return choose(train, default[0]), choose(test, default[1])


@dataclass(frozen=True)
class RawVideo:
    """One video as a file states it: classes by name, nothing compared yet; else as Video."""

    subset: str
    duration_s: float | None
    video_labels: tuple[str, ...] | None  # None where the file has none of its own
    segments: npt.NDArray[np.float64]
    segment_labels: tuple[str, ...]
    ambiguous: npt.NDArray[np.float64]
    fps: float | None = None

    @property
    def all_labels(self) -> set[str]:
        """Every class name that the video uses."""
        return {*self.segment_labels, *(self.video_labels or ())}


def to_segments(pairs: Any, where: str) -> npt.NDArray[np.float64]:
    """Return start and end pairs, numbers or strings, as (N, 2) float64; their order is unchecked.

    Raises InputError if one is not a pair of numbers; `where` names the video.
    """
    try:
        return np.array([[float(start), float(end)] for start, end in pairs]).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: expected segments as [start, end] in seconds") from error


def build_annotations(
    raw: Mapping[str, RawVideo],
    classes: Sequence[str],
    where: str,
    warnings: Sequence[str] = (),
) -> Annotations:
    """Turn videos as stated into Annotations; `where` names the source, `warnings` stand first.

    A video's labels are its video-level ones where the file has them, else those of its segments.
    A segment that ends before it starts, or is not finite, is left out with a warning.

    Raises InputError if there is no video or no class, a class is named twice, or a label unknown.
    """
    index = {name: label for label, name in enumerate(classes)}
    if not raw:
        raise InputError(f"{where}: no videos in it")
    if not index:
        raise InputError(f"{where}: no classes in it: no video has a label")
    if len(index) != len(classes):
        raise InputError(f"{where}: the class list names a class twice")
    videos = []
    reversed_segments = []
    for name, video in raw.items():
        keep, keep_ambiguous = _forward(video.segments), _forward(video.ambiguous)
        dropped = [*video.segments[~keep], *video.ambiguous[~keep_ambiguous]]
        reversed_segments += [f"{name}: {start:g} to {end:g} s" for start, end in dropped]
        unknown = sorted(video.all_labels - index.keys())
        if unknown:
            raise InputError(
                f"{where}: {name}: unknown label {unknown[0]!r}{nearest(unknown[0], index)}"
            )
        if video.duration_s is not None and not 0 <= video.duration_s < float("inf"):
            raise InputError(f"{where}: {name}: a duration of {video.duration_s:g} s")
        if video.fps is not None and not 0 < video.fps < float("inf"):
            raise InputError(f"{where}: {name}: a frame rate of {video.fps:g} fps")
        labels = video.segment_labels if video.video_labels is None else video.video_labels
        videos.append(
            Video(
                name=name,
                subset=video.subset,
                duration_s=video.duration_s,
                labels=tuple(sorted({index[label] for label in labels})),
                segments=video.segments[keep],
                segment_labels=np.array([index[x] for x in video.segment_labels], dtype=np.int64)[
                    keep
                ],
                ambiguous=video.ambiguous[keep_ambiguous],
                fps=video.fps,
            )
        )
    found = [
        *warnings,
        *counted(reversed_segments, "ends before it starts or is not finite, left out", "segment"),
        *_alike(classes),
        *_disagreements(raw),
        *_past_the_end(videos),
    ]
    return Annotations(tuple(classes), tuple(videos), tuple(found))


def counted(names: Sequence[str], finding: str, noun: str = "video") -> list[str]:
    """Return one warning that counts the items of a finding; none without items."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    plural = ("es" if noun.endswith("s") else "s") * (len(names) > 1)
    return [f"{len(names)} {noun}{plural}: {finding} ({shown})"]


def _forward(segments: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which segments (N, 2) are finite and do not end before they start, (N,)."""
    finite = np.isfinite(segments).all(axis=1)
    return np.asarray(finite & (segments[:, 1] >= segments[:, 0]))


def _alike(classes: Sequence[str]) -> list[str]:
    """Name the classes that only their case tells apart."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in groups.values() if len(names) > 1]
    return (
        [f"classes that only case tells apart are kept apart: {', '.join(alike)}"] if alike else []
    )


def _disagreements(raw: Mapping[str, RawVideo]) -> list[str]:
    names = [
        name
        for name, video in raw.items()
        if video.video_labels is not None
        and len(video.segment_labels)
        and set(video.video_labels) != set(video.segment_labels)
    ]
    return counted(names, "video-level labels and segment labels disagree, both are kept as given")


def _past_the_end(videos: Sequence[Video]) -> list[str]:
    names = [
        video.name
        for video in videos
        if video.duration_s is not None and video.segments.max(initial=0) > video.duration_s
    ]
    return counted(names, "a segment ends after the annotated duration")


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """Return `count` of the items, spaced evenly over their order; all of them for None."""
    count = len(items) if count is None else min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
