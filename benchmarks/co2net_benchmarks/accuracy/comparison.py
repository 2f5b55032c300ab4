"""The changes between two sets of predictions for the same videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net.evaluation.mean_ap import Floats, GroundTruth, Integers, Predictions, detection_map
from co2net.evaluation.protocol import Evaluation, gather
from co2net_benchmarks.accuracy.judge import Accuracy
from co2net_runtime.detections import Detections


@dataclass(frozen=True)
class Segment:
    """A segment by names and seconds; score: None for an annotated instance."""

    video: str
    label: str
    start_s: float
    end_s: float
    score: float | None = None


@dataclass(frozen=True)
class SegmentChanges:
    """Predicted segments matched one to one within video and class."""

    kept: int  # number of the baseline's segments that have a partner
    lost: tuple[Segment, ...]  # the baseline's without one
    gained: tuple[Segment, ...]  # the other predictions' without one


@dataclass(frozen=True)
class ClassChange:
    """Difference in AP per threshold of a class that has ground truth."""

    name: str
    ap: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Differences in fractions of 1, predictions minus baseline."""

    baseline: str  # its file
    tious: tuple[float, ...]
    map: tuple[float, ...]  # difference per threshold
    averages: dict[str, float]  # difference of the averages of the same name
    classes: tuple[ClassChange, ...]
    tiou: float  # from here on a segment or an instance counts as found
    segments: SegmentChanges  # among those above the operating point
    instances_lost: tuple[Segment, ...]  # annotated instances that only the baseline found
    instances_gained: tuple[Segment, ...]  # that only the predictions found


def compare(new: Accuracy, old: Accuracy, classes: Sequence[str], tiou: float = 0.5) -> Comparison:
    """Compare predictions with a baseline, judged on the same videos with the same options.

    classes: names that the labels index. tiou: from here on a segment or an instance counts as
    found.
    """
    after, before = new.evaluation, old.evaluation
    found, found_before = _found(after, tiou), _found(before, tiou)
    ap = after.result.ap - before.result.ap
    averages = before.result.averages
    truth = after.ground_truth
    instances = _named(truth.videos, truth.labels, after.instance_s, None, after.videos, classes)
    return Comparison(
        baseline=old.source,
        tious=after.result.tious,
        map=tuple((after.result.map - before.result.map).tolist()),
        averages={name: mean - averages[name] for name, mean in after.result.averages.items()},
        classes=tuple(
            ClassChange(classes[label], tuple(ap[:, label].tolist()))
            for label in np.flatnonzero(after.result.instances).tolist()
        ),
        tiou=tiou,
        segments=segment_changes(new.results, old.results, classes, tiou=tiou),
        instances_lost=tuple(instances[i] for i in np.flatnonzero(found_before & ~found)),
        instances_gained=tuple(instances[i] for i in np.flatnonzero(found & ~found_before)),
    )


def segment_changes(
    results: Mapping[str, Detections],
    baseline: Mapping[str, Detections],
    classes: Sequence[str],
    *,
    tiou: float = 0.5,
    share: float = 0.1,
) -> SegmentChanges:
    """Match the segments above the operating point one to one with the baseline's.

    In descending order of score each segment takes the free one of the baseline, of its video
    and class, with the highest tIoU of at least `tiou`.

    share: of a video's best score, see Detections.at_operating_point.
    Raises InputError for a label that is not among `classes`.
    """
    videos = tuple(dict.fromkeys([*baseline, *results]))
    before, after = (
        gather(
            {name: found.at_operating_point(share) for name, found in each.items()}, videos, classes
        )
        for each in (baseline, results)
    )
    targets = GroundTruth(before.videos, before.segments, before.labels)
    matches = detection_map(targets, after, len(classes), (tiou,)).matches[0]
    lost = np.ones(len(before), dtype=np.bool_)
    lost[matches[matches >= 0]] = False
    return SegmentChanges(
        kept=int((~lost).sum()),
        lost=_named_predictions(before.select(lost), videos, classes),
        gained=_named_predictions(after.select(matches < 0), videos, classes),
    )


def _found(evaluation: Evaluation, tiou: float) -> npt.NDArray[np.bool_]:
    """Return which instances any prediction took at the threshold, (G,)."""
    truth = evaluation.ground_truth
    class_count = len(evaluation.result.instances)
    matches = detection_map(truth, evaluation.predictions, class_count, (tiou,)).matches[0]
    found = np.zeros(len(truth), dtype=np.bool_)
    found[matches[matches >= 0]] = True
    return found


def _named_predictions(
    predictions: Predictions, videos: Sequence[str], classes: Sequence[str]
) -> tuple[Segment, ...]:
    return _named(
        predictions.videos, predictions.labels, predictions.segments, predictions.scores, videos,
        classes,
    )  # fmt: skip


def _named(
    numbers: Integers,
    labels: Integers,
    segments_s: Floats,
    scores: Floats | None,
    videos: Sequence[str],
    classes: Sequence[str],
) -> tuple[Segment, ...]:
    listed = [None] * len(labels) if scores is None else scores.tolist()
    return tuple(
        Segment(videos[number], classes[label], start, end, score)
        for number, label, (start, end), score in zip(
            numbers.tolist(), labels.tolist(), segments_s.tolist(), listed, strict=True
        )
    )
