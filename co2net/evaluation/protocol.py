"""Annotations and detections, in seconds, -> the arrays a protocol compares, and their mAP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from co2net.data.annotations import Video
from co2net.evaluation.mean_ap import (
    DetectionResult,
    EvaluationOptions,
    Floats,
    GroundTruth,
    Integers,
    Predictions,
    Protocol,
    detection_map,
)
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import nearest
from co2net_runtime.files.text import normalized
from co2net_runtime.options import SnippetTiming

# seconds written to JSON come back this close to their snippet (method, section 5)
SNAP_SNIPPETS = 1e-6


@dataclass(frozen=True)
class Evaluation:
    """Detections judged against annotations.

    Video index i is `videos[i]`: first the annotated videos, then those that only have predictions.
    """

    result: DetectionResult  # the mAP
    ground_truth: GroundTruth  # as compared, in the protocol's unit
    predictions: Predictions
    instance_s: Floats  # (G, 2): the same instances in seconds, as they were given
    prediction_s: Floats  # (P, 2): the same predictions in seconds, timed as their video is
    videos: tuple[str, ...]
    ambiguous: int  # predictions left out because they overlap an ambiguous interval
    without_predictions: tuple[str, ...]  # annotated videos that the results lack
    unknown: tuple[str, ...]  # videos of the results that are not annotated: false positives


def evaluate(
    results: Mapping[str, Detections],
    videos: Sequence[Video],
    classes: Sequence[str],
    options: EvaluationOptions | None = None,
    timing: SnippetTiming | None = None,
) -> Evaluation:
    """Compute the detection mAP of detections on annotated videos.

    Every annotated video counts, as in ActivityNet's official evaluation: the instances of one that
    `results` lacks are missed. Leave such videos out of `videos` for the other convention.

    Args:
        results: Video name -> detections, in seconds by `timing`.
        videos: The annotated videos; one that states its own fps is timed by that.
        classes: The names that the videos' labels index; the detections' labels are mapped to them
            by name.
        options: By default protocol co2net at .1:.1:.9.
        timing: Of the snippets; by default 16 frames at 25 fps.

    Returns:
        The mAP and what was compared. Equal scores rank in the order of `videos`, then in that of
        the detections.

    Raises:
        InputError: A detection has a label that is not among `classes`.

    Example:
        evaluation = evaluate(results, dataset.annotations.subset("test"), dataset.classes)
        print(evaluation.result.averages["0.1:0.7"])
    """
    options = options or EvaluationOptions()
    timing = timing or SnippetTiming()
    annotated = {video.name for video in videos}
    unknown = tuple(name for name in results if name not in annotated)
    names = (*(video.name for video in videos), *unknown)
    given = _timed(gather(results, names, classes), videos, timing)
    segments = np.empty_like(given.segments)
    ambiguous = np.zeros(len(given), dtype=np.bool_)
    for number, rows in enumerate(_rows(given.videos, len(names))):
        if not len(rows):
            continue
        own = _timing_of(videos[number], timing) if number < len(videos) else timing
        segments[rows] = segments_in_unit(given.segments[rows], options.protocol, own)
        if number < len(videos) and len(videos[number].ambiguous):
            ambiguous[rows] = overlaps_ambiguous(
                segments[rows], videos[number].ambiguous, options.protocol, own
            )
    truth = ground_truth(videos, options.protocol, timing)
    predictions = replace(given, segments=segments).select(~ambiguous)
    return Evaluation(
        result=detection_map(truth, predictions, len(classes), options.tious),
        ground_truth=truth,
        predictions=predictions,
        instance_s=_stack([video.segments for video in videos]),
        prediction_s=given.segments[~ambiguous],
        videos=names,
        ambiguous=int(ambiguous.sum()),
        without_predictions=tuple(video.name for video in videos if video.name not in results),
        unknown=unknown,
    )


def _timing_of(video: Video, timing: SnippetTiming) -> SnippetTiming:
    """Return the dataset's timing with the video's own frame rate, where it states one."""
    return timing if video.fps is None else replace(timing, fps=video.fps)


def ground_truth(videos: Sequence[Video], protocol: Protocol, timing: SnippetTiming) -> GroundTruth:
    """Return the instances of `videos`, in their order, in the protocol's unit.

    Under `co2net` both ends are rounded to whole snippets, halves to even (method, section 5);
    instances shorter than that have length zero, count as ground truth and never match.
    """
    segments = [
        np.rint(_timing_of(video, timing).to_snippets(video.segments))
        if protocol == "co2net"
        else video.segments
        for video in videos
    ]
    labels = [video.segment_labels for video in videos]
    counts = np.array([len(video.segments) for video in videos], dtype=np.int64)
    return GroundTruth(
        np.repeat(np.arange(len(videos)), counts),
        _stack(segments),
        np.concatenate([np.zeros(0, dtype=np.int64), *labels]),
    )


def segments_in_unit(seconds: Floats, protocol: Protocol, timing: SnippetTiming) -> Floats:
    """Return predicted segments (N, 2) in the protocol's unit.

    Under `co2net` these are snippets. i * 16 / 25 * 25 / 16 is not i in floating point for one
    integer in ten, and a tIoU that equals a threshold then flips: what lies within SNAP_SNIPPETS
    of an integer becomes that integer; other positions stay fractional.
    """
    if protocol == "activitynet":
        return seconds
    snippets = timing.to_snippets(seconds)
    whole = np.rint(snippets)
    snapped: Floats = np.where(np.abs(snippets - whole) <= SNAP_SNIPPETS, whole, snippets)
    return snapped


def overlaps_ambiguous(
    segments: Floats, ambiguous: Floats, protocol: Protocol, timing: SnippetTiming
) -> npt.NDArray[np.bool_]:
    """Return which predicted segments (N, 2) share time with an ambiguous interval, (N,).

    segments: in the protocol's unit. ambiguous (M, 2): in seconds. Under `co2net` the intervals
    are rounded to whole snippets and the segments' ends truncated to them (method, section 4,
    step 6); under `activitynet` seconds are compared as they are. Touching is no overlap.
    """
    if protocol == "co2net":
        ambiguous = np.rint(timing.to_snippets(ambiguous))
        segments = np.trunc(segments)
    start = np.maximum(segments[:, None, 0], ambiguous[None, :, 0])
    end = np.minimum(segments[:, None, 1], ambiguous[None, :, 1])
    overlaps = end > start
    return np.asarray(overlaps.any(axis=1))


def gather(
    results: Mapping[str, Detections], names: Sequence[str], classes: Sequence[str]
) -> Predictions:
    """Return the detections of the named videos in one table, in seconds.

    names: video index i is `names[i]`; those that `results` lacks are passed over. classes: the
    labels become indices of these, by name.

    Raises InputError naming the predicted labels that are not among `classes`.
    """
    index = {normalized(name): label for label, name in enumerate(classes)}
    tables = {
        found.classes: np.array(
            [index.get(normalized(name), -1) for name in found.classes], dtype=np.int64
        )
        for found in results.values()
    }
    videos = [number for number, name in enumerate(names) if name in results]
    found = [results[names[number]] for number in videos]
    labels = [tables[each.classes][each.labels] for each in found]
    unknown = {
        each.classes[label]
        for each, mapped in zip(found, labels, strict=True)
        for label in each.labels[mapped < 0].tolist()
    }
    if unknown:
        listed = ", ".join(repr(name) for name in sorted(unknown))
        hint = nearest(min(unknown), classes)
        raise InputError(f"predicted labels that the annotations do not know: {listed}{hint}")
    return Predictions(
        np.repeat(np.array(videos, dtype=np.int64), np.array([len(each) for each in found], int)),
        _stack([each.segments for each in found]),
        np.concatenate([np.zeros(0, dtype=np.int64), *labels]),
        np.concatenate([np.zeros(0), *(each.scores for each in found)]),
    )


def _stack(segments: Sequence[Floats]) -> Floats:
    return np.concatenate([np.zeros((0, 2)), *segments])


def _timed(given: Predictions, videos: Sequence[Video], timing: SnippetTiming) -> Predictions:
    """Return predictions timed by `timing` with the same snippets timed as each video is."""
    segments = given.segments.copy()
    for number, video in enumerate(videos):
        own = _timing_of(video, timing)
        if own != timing:
            rows = given.videos == number
            segments[rows] = own.to_seconds(timing.to_snippets(segments[rows]))
    return replace(given, segments=segments)


def _rows(numbers: Integers, count: int) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each of the numbers 0 ... count - 1, ascending."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.searchsorted(numbers[order], np.arange(1, count)))
