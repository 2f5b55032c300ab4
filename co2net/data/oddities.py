"""Oddities of a dataset, one line each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from co2net.data.feature_store import FeatureStore, Header
from co2net.data.video import Annotations, counted
from co2net_runtime.errors import InputError
from co2net_runtime.options import SnippetTiming

# videos of one length and different widths from which a dataset is taken for transposed
_TRANSPOSED_FROM = 3


def frame_rates(annotations: Annotations, timing: SnippetTiming, *, forced: bool) -> Annotations:
    """Compare the videos' own frame rates with the dataset's, and warn where they differ.

    Args:
        annotations: The annotations.
        timing: The dataset's timing.
        forced: The user gave the dataset's frame rate, and it counts for all videos.
    """
    other = [v.name for v in annotations.videos if v.fps is not None and v.fps != timing.fps]
    if not forced:
        finding = f"another frame rate than {timing.fps:g} fps: each is timed at its own"
        return replace(annotations, warnings=(*annotations.warnings, *counted(other, finding)))
    finding = f"annotated with another frame rate, timed at {timing.fps:g} fps as --fps says"
    videos = tuple(replace(video, fps=None) for video in annotations.videos)
    warnings = (*annotations.warnings, *counted(other, finding))
    return replace(annotations, videos=videos, warnings=warnings)


def unlearnable(
    annotations: Annotations, train: str | None, store: FeatureStore | None
) -> list[str]:
    """Name the classes that no training video shows, and what that costs.

    Args:
        annotations: The annotations.
        train: The subset to train on; without it nothing is found.
        store: Only the videos in it count.
    """
    if train is None:
        return []
    videos = [video for video in annotations.subset(train) if store is None or video.name in store]
    learned = {label for video in videos for label in video.labels}
    names = [name for label, name in enumerate(annotations.classes) if label not in learned]
    return counted(names, "0 training videos: cannot be learned, counts as AP 0", "class")


def header_warnings(
    annotations: Annotations, timing: SnippetTiming, headers: Mapping[str, Header]
) -> list[str]:
    """Find oddities in the shapes of the features.

    Streams of different lengths, and features that cover far less or more than the annotated
    duration; if most do, the timing is what is wrong.
    """
    cut = [name for name, header in headers.items() if header.cut]
    ratios, far = {}, {}
    for video in annotations.videos:
        if video.name in headers and video.duration_s:
            fps = video.fps or timing.fps
            snippet_s = timing.snippet_frames / fps
            ratios[video.name] = headers[video.name].length * snippet_s / video.duration_s
            rounding = 2 * snippet_s / video.duration_s
            if abs(ratios[video.name] - 1) > 0.1 + rounding:
                far[video.name] = ratios[video.name]
    warnings = counted(cut, "RGB and flow differ by up to 2 snippets, the longer is cut")
    if len(far) > len(ratios) / 2:
        median = float(np.median(list(far.values())))
        warnings.append(
            f"the features of {len(far)} of {len(ratios)} videos cover {median:.2f} times the "
            f"annotated duration: is a snippet every {timing.snippet_frames} frames at "
            f"{timing.fps:g} fps right? See --stride and --fps"
        )
    else:
        short = [name for name, ratio in far.items() if ratio < 1]
        long = [name for name, ratio in far.items() if ratio > 1]
        warnings += counted(short, "the features are far shorter than the annotated duration")
        warnings += counted(long, "the features are far longer than the annotated duration")
    return warnings


def check_not_transposed(store: FeatureStore, names: Sequence[str], root: Path) -> None:
    """Refuse features (D, T), which have all the same number of rows and few the same of columns.

    Raises InputError; files that cannot be read are passed over.
    """
    headers = []
    for name in names:
        try:
            headers.append(store.header(name))
        except InputError:
            continue
        if len(headers) >= _TRANSPOSED_FROM:
            break
    lengths = {header.length for header in headers}
    widths = {header.widths for header in headers}
    if len(headers) == _TRANSPOSED_FROM and len(lengths) == 1 and len(widths) > 1:
        raise InputError(
            f"{root}: every video has {headers[0].length} rows and another number of columns: "
            "transposed? Expected features (T, D), a row for each snippet"
        )
