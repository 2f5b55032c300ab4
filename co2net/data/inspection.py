"""A dataset looked through: how much of everything, and what is odd about it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from co2net.data.dataset import Dataset
from co2net.data.feature_store import Header
from co2net.data.oddities import header_warnings
from co2net.data.video import Video
from co2net_runtime.errors import InputError
from co2net_runtime.features import check_features

# how many videos' values are read where not all are asked for
SAMPLE = 16

# wraps the videos in a progress bar
Progress = Callable[[Iterable[Video]], AbstractContextManager[Iterable[Video]]]


@dataclass(frozen=True)
class SubsetReport:
    """One subset."""

    name: str
    role: str  # "train", "test", "train and test", ""
    videos: int  # annotated
    with_features: int
    instances: int
    snippets: int  # from here on: of the videos with features
    snippets_min: int
    snippets_median: float
    snippets_max: int
    hours: float


@dataclass(frozen=True)
class ClassReport:
    """How often a class occurs in the subsets to train and to test on."""

    name: str
    train_videos: int
    train_instances: int
    test_videos: int
    test_instances: int


@dataclass(frozen=True)
class StreamReport:
    """Values of one stream in the videos that were read: range, mean, share that is 0."""

    name: str
    channels: int
    minimum: float
    maximum: float
    mean: float
    zero_share: float


@dataclass(frozen=True)
class Report:
    """The content of a dataset."""

    path: str
    snippet_frames: int
    fps: float
    offset_frames: int
    rgb_dim: int
    flow_dim: int
    subsets: tuple[SubsetReport, ...]
    classes: tuple[ClassReport, ...]
    dtypes: dict[str, int]  # videos per feature dtype
    values_read: int  # videos whose values were looked at, not only their shapes
    streams: tuple[StreamReport, ...]
    extraction: Mapping[str, Any] | None  # what made the features, from extraction.json
    warnings: tuple[str, ...]  # odd but usable, one line each
    problems: tuple[str, ...]  # feature files that cannot be used, one line each


def inspect(dataset: Dataset, *, deep: bool, progress: Progress) -> Report:
    """Look at every feature file, and with `deep` at every value in it.

    dataset: opened with check=False, so that bad files are reported rather than raised.
    """
    videos = [v for v in dataset.annotations.videos if dataset.has_features(v.name)]
    read = videos if deep else videos[:: max(1, len(videos) // SAMPLE)][:SAMPLE]
    sampled = {video.name for video in read}
    headers: dict[str, Header] = {}
    dtypes: Counter[str] = Counter()
    problems: list[str] = []
    values = _Values(dataset.rgb_dim)
    with progress(videos) as bar:
        for video in bar:
            try:
                headers[video.name] = dataset.header(video.name)
                rows = dataset.features(video.name)
                dtypes[str(rows.dtype)] += 1
                if video.name in sampled:
                    values.add(check_features(rows, dataset.where(video.name)))
            except InputError as error:
                problems.append(str(error))
    odd = header_warnings(dataset.annotations, dataset.timing, headers)
    return Report(
        path=str(dataset.path),
        snippet_frames=dataset.timing.snippet_frames,
        fps=dataset.timing.fps,
        offset_frames=dataset.timing.offset_frames,
        rgb_dim=dataset.rgb_dim,
        flow_dim=dataset.flow_dim,
        subsets=tuple(_subset(dataset, name, headers) for name in dataset.annotations.subsets),
        classes=_classes(dataset),
        dtypes=dict(sorted(dtypes.items())),
        values_read=values.videos,
        streams=values.report(),
        extraction=dataset.extraction,
        warnings=(*dataset.warnings, *odd),
        problems=tuple(problems),
    )


class _Values:
    """Statistics of the values of two streams, gathered video by video."""

    def __init__(self, rgb_dim: int) -> None:
        self.videos = 0
        self._rgb_dim = rgb_dim
        # per stream and video: channels, minimum, maximum, mean, share of zeros, values
        self._rows: tuple[list[list[float]], list[list[float]]] = ([], [])

    def add(self, features: Any) -> None:
        self.videos += 1
        parts = (features[:, : self._rgb_dim], features[:, self._rgb_dim :])
        for rows, part in zip(self._rows, parts, strict=True):
            mean = part.mean(dtype=np.float64)
            rows.append(
                [part.shape[1], part.min(), part.max(), mean, np.mean(part == 0), part.size]
            )

    def report(self) -> tuple[StreamReport, ...]:
        if not self.videos:
            return ()
        reports = []
        for name, rows in zip(("rgb", "flow"), self._rows, strict=True):
            channels, low, high, mean, zeros, size = np.array(rows, dtype=np.float64).T
            reports.append(
                StreamReport(
                    name=name,
                    channels=int(channels[0]),
                    minimum=float(low.min()),
                    maximum=float(high.max()),
                    mean=float(np.average(mean, weights=size)),
                    zero_share=float(np.average(zeros, weights=size)),
                )
            )
        return tuple(reports)


def _subset(dataset: Dataset, name: str, headers: dict[str, Header]) -> SubsetReport:
    videos = dataset.annotations.subset(name)
    lengths = [headers[video.name].length for video in videos if video.name in headers]
    return SubsetReport(
        name=name,
        role=_role(dataset, name),
        videos=len(videos),
        with_features=len(lengths),
        instances=sum(len(video.segments) for video in videos),
        snippets=sum(lengths),
        snippets_min=min(lengths, default=0),
        snippets_median=float(np.median(lengths)) if lengths else 0.0,
        snippets_max=max(lengths, default=0),
        hours=sum(lengths) * dataset.timing.snippet_s / 3600,
    )


def _role(dataset: Dataset, name: str) -> str:
    roles = [
        role
        for role, subset in (("train", dataset.train), ("test", dataset.test))
        if subset == name
    ]
    return " and ".join(roles)


def _classes(dataset: Dataset) -> tuple[ClassReport, ...]:
    counts = []
    for subset in (dataset.train, dataset.test):
        videos = () if subset is None else dataset.annotations.subset(subset)
        counts.append((_videos_per_class(dataset, videos), _instances_per_class(dataset, videos)))
    (train_videos, train_instances), (test_videos, test_instances) = counts
    return tuple(
        ClassReport(name, *numbers)
        for name, *numbers in zip(
            dataset.classes,
            train_videos,
            train_instances,
            test_videos,
            test_instances,
            strict=True,
        )
    )


def _videos_per_class(dataset: Dataset, videos: Sequence[Video]) -> list[int]:
    totals: list[int] = dataset.annotations.label_matrix(videos).sum(axis=0).astype(int).tolist()
    return totals


def _instances_per_class(dataset: Dataset, videos: Sequence[Video]) -> list[int]:
    labels = [label for video in videos for label in video.segment_labels.tolist()]
    counts: list[int] = np.bincount(
        np.array(labels, dtype=np.int64), minlength=len(dataset.classes)
    ).tolist()
    return counts
