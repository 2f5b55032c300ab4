"""Detection and classification mAP as pure functions on arrays (method, section 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Protocol = Literal["co2net", "activitynet"]

# written as decimals: a tIoU of exactly 3/10 reaches the threshold 0.3 but not linspace's
THUMOS14_TIOUS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ACTIVITYNET_TIOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_AVERAGED = ((0.1, 0.5), (0.3, 0.7), (0.1, 0.7))


@dataclass(frozen=True)
class EvaluationOptions:
    """How detections are compared with annotations."""

    protocol: Protocol = "co2net"  # co2net: in whole snippets; activitynet: in seconds as they are
    tious: tuple[float, ...] = THUMOS14_TIOUS  # ascending, in (0, 1]

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOL_TIOUS:
            raise ValueError(f"protocol must be co2net or activitynet, got {self.protocol!r}")
        if not self.tious or any(not 0 < tiou <= 1 for tiou in self.tious):
            raise ValueError(f"tIoU thresholds must lie in (0, 1], got {self.tious}")
        if list(self.tious) != sorted(set(self.tious)):
            raise ValueError(f"tIoU thresholds must ascend, got {self.tious}")

    @staticmethod
    def of(protocol: Protocol) -> "EvaluationOptions":
        """Return the protocol with the thresholds its results are published at."""
        return EvaluationOptions(protocol, PROTOCOL_TIOUS[protocol])


PROTOCOL_TIOUS: Mapping[Protocol, tuple[float, ...]] = {
    "co2net": THUMOS14_TIOUS,
    "activitynet": ACTIVITYNET_TIOUS,
}


@dataclass(frozen=True)
class GroundTruth:
    """G annotated instances."""

    videos: Integers  # (G,): index of the video
    segments: Floats  # (G, 2): start and end in the protocol's unit, snippets or seconds
    labels: Integers  # (G,): class index

    def __post_init__(self) -> None:
        _check_shapes(self.videos, self.segments, self.labels)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Predictions:
    """P predicted segments, in any order; fields as in GroundTruth."""

    videos: Integers  # (P,): a video without ground truth has an index too
    segments: Floats  # (P, 2)
    labels: Integers  # (P,)
    scores: Floats  # (P,): finite

    def __post_init__(self) -> None:
        _check_shapes(self.videos, self.segments, self.labels, self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Predictions":
        """Return the predictions that a mask (P,) or an index array picks."""
        return Predictions(
            self.videos[keep], self.segments[keep], self.labels[keep], self.scores[keep]
        )


@dataclass(frozen=True)
class DetectionResult:
    """Average precision per tIoU threshold and class; all values are fractions of 1."""

    tious: tuple[float, ...]  # the K thresholds
    ap: Floats  # (K, C): NaN where the class has no ground truth
    matches: Integers  # (K, P): the instance that each prediction matched, -1: false positive
    instances: Integers  # (C,): how many of each class
    predictions: Integers  # (C,)

    @property
    def map(self) -> Floats:
        """Mean AP per threshold over the classes that have ground truth, (K,) float64."""
        measured = self.instances > 0
        if not measured.any():
            return np.full(len(self.tious), np.nan)
        means: Floats = self.ap[:, measured].mean(axis=1)
        return means

    @property
    def averages(self) -> dict[str, float]:
        """Means of the mAP over ranges of thresholds, keyed "0.1:0.5".

        The ranges of the literature (0.1:0.5, 0.3:0.7, 0.1:0.7) where all their thresholds in
        steps of 0.1 were measured, and the mean over all thresholds as "all".
        """
        means = self.map
        averages = {}
        for low, high in _AVERAGED:
            wanted = [tiou for tiou in THUMOS14_TIOUS if low <= tiou <= high]
            if set(wanted) <= set(self.tious):
                rows = [self.tious.index(tiou) for tiou in wanted]
                averages[f"{low:g}:{high:g}"] = float(means[rows].mean())
        averages["all"] = float(means.mean())
        return averages


def detection_map(
    ground_truth: GroundTruth, predictions: Predictions, class_count: int, tious: tuple[float, ...]
) -> DetectionResult:
    """Return the detection mAP (method, section 5).

    In descending order of score, equal scores in the given order, each prediction takes the
    instance of its video and class with the highest tIoU of those that are still free and reach
    the threshold; on equal tIoU the later instance. One that takes none is a false positive.
    AP is the area under the monotone envelope of precision over recall (VOC 2011).

    Raises ValueError for a label outside [0, class_count).
    """
    for labels in (ground_truth.labels, predictions.labels):
        if len(labels) and not (labels.min() >= 0 and labels.max() < class_count):
            raise ValueError(f"labels must lie in [0, {class_count})")
    order = np.argsort(-predictions.scores, kind="stable")
    ranked = predictions.select(order)
    pairs = candidate_pairs(ground_truth, ranked, min(tious))
    matches = np.full((len(tious), len(predictions)), -1, dtype=np.int64)
    for row, tiou in enumerate(tious):
        matches[row, order] = _match(pairs.at(tiou), len(ranked), len(ground_truth))
    instances = np.bincount(ground_truth.labels, minlength=class_count)
    ap = np.full((len(tious), class_count), np.nan)
    hits = matches[:, order] >= 0
    for label in np.flatnonzero(instances):
        ap[:, label] = _average_precision(hits[:, ranked.labels == label], int(instances[label]))
    return DetectionResult(
        tuple(tious), ap, matches, instances, np.bincount(predictions.labels, minlength=class_count)
    )


def classification_map(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, float]:
    """Return the video classification AP per class, (C,) float64, and their mean.

    scores (N, C): of N videos. labels (N, C): non-zero where the video has the class. AP is the
    mean precision at the positives (method, section 5); NaN for a class without positives, which
    the mean leaves out. Equal scores rank in the given order. All values are fractions of 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    positive = np.asarray(labels) > 0
    if scores.ndim != 2 or scores.shape != positive.shape:
        raise ValueError(f"expected two (N, C) arrays, got {scores.shape} and {positive.shape}")
    ranked = np.take_along_axis(positive, np.argsort(-scores, axis=0, kind="stable"), axis=0)
    precision = ranked.cumsum(axis=0) / np.arange(1, len(ranked) + 1)[:, None]
    counts = positive.sum(axis=0)
    ap = np.full(scores.shape[1], np.nan)
    np.divide((precision * ranked).sum(axis=0), counts, out=ap, where=counts > 0)
    return ap, float(ap[counts > 0].mean()) if counts.any() else float("nan")


def classification_scores(cas: npt.ArrayLike) -> Floats:
    """Return one video's class scores, (C,) float64, from its logits (T, C + 1), background last.

    The softmax, background included, of the mean of the top ceil(T / 8) logits of each class
    (method, section 5).
    """
    logits = np.asarray(cas, dtype=np.float64)
    count = -(-len(logits) // 8)
    top = np.sort(logits, axis=0)[-count:].mean(axis=0)
    powers = np.exp(top - top.max())
    scores: Floats = (powers / powers.sum())[:-1]
    return scores


def temporal_iou(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of segments (..., 2), pair by pair; 0 if both are empty.

    The arrays are broadcast against each other; all values are in one unit.
    """
    start = np.maximum(first[..., 0], second[..., 0])
    end = np.minimum(first[..., 1], second[..., 1])
    inter = np.maximum(end - start, 0.0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - inter
    iou: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return iou


@dataclass(frozen=True)
class Pairs:
    """Predictions and instances of the same video that overlap.

    Sorted by prediction, then by descending tIoU, then by descending instance.
    """

    prediction: Integers  # (N,): index
    instance: Integers  # (N,): index
    tiou: Floats  # (N,)

    def at(self, tiou: float) -> "Pairs":
        """Return the pairs that reach the threshold."""
        keep = self.tiou >= tiou
        return Pairs(self.prediction[keep], self.instance[keep], self.tiou[keep])


def candidate_pairs(
    ground_truth: GroundTruth,
    predictions: Predictions,
    min_tiou: float,
    *,
    same_class: bool = True,
) -> Pairs:
    """Return all pairs of a prediction and an instance of its video with tIoU >= min_tiou > 0.

    Args:
        ground_truth: The instances.
        predictions: The predictions.
        min_tiou: The lowest tIoU of a pair.
        same_class: Only pairs of one class; otherwise of any two.
    """
    truth_keys, keys = ground_truth.videos, predictions.videos
    if same_class:
        labels = np.concatenate([ground_truth.labels, predictions.labels])
        span = int(labels.max(initial=0)) + 1
        truth_keys = truth_keys * span + ground_truth.labels
        keys = keys * span + predictions.labels
    by_key = np.argsort(truth_keys, kind="stable")
    first = np.searchsorted(truth_keys[by_key], keys, side="left")
    counts = np.searchsorted(truth_keys[by_key], keys, side="right") - first
    prediction = np.repeat(np.arange(len(keys)), counts)
    offset = np.arange(len(prediction)) - np.repeat(np.cumsum(counts) - counts, counts)
    instance = by_key[np.repeat(first, counts) + offset]
    tiou = temporal_iou(predictions.segments[prediction], ground_truth.segments[instance])
    keep = np.flatnonzero(tiou >= min_tiou)
    order = keep[np.lexsort((-instance[keep], -tiou[keep], prediction[keep]))]
    return Pairs(prediction[order], instance[order], tiou[order])


def _match(pairs: Pairs, predictions: int, instances: int) -> Integers:
    """Return the instance that each prediction takes, -1 for none, (predictions,) int64.

    Predictions choose in turn, which is the stable matching in which every instance prefers the
    earlier prediction. So all of them may ask at once (deferred acceptance): each free prediction
    asks its best instance that has not yet refused it, each instance keeps the earliest asker.
    """
    next_pair = np.searchsorted(pairs.prediction, np.arange(predictions))
    last_pair = np.searchsorted(pairs.prediction, np.arange(predictions), side="right")
    taker = np.full(instances, predictions, dtype=np.int64)
    asking = np.flatnonzero(next_pair < last_pair)
    while len(asking):
        asked = pairs.instance[next_pair[asking]]
        before = taker[asked]
        np.minimum.at(taker, asked, asking)
        refused = asking[taker[asked] != asking]
        displaced = before[(before < predictions) & (taker[asked] != before)]
        asking = np.union1d(refused, displaced)
        next_pair[asking] += 1
        asking = asking[next_pair[asking] < last_pair[asking]]
    matched = np.full(predictions, -1, dtype=np.int64)
    taken = np.flatnonzero(taker < predictions)
    matched[taker[taken]] = taken
    return matched


def _average_precision(hits: npt.NDArray[np.bool_], instances: int) -> Floats:
    """Return the interpolated AP, (K,), of ranked hits (K, P) against `instances` > 0."""
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # recall rises by 1 / instances at each hit
    area: Floats = np.where(hits, envelope, 0.0).sum(axis=1) / instances
    return area


def _check_shapes(
    videos: Integers, segments: Floats, labels: Integers, scores: Floats | None = None
) -> None:
    shapes = (videos.shape, segments.shape, labels.shape)
    count = len(labels)
    if shapes != ((count,), (count, 2), (count,)):
        raise ValueError(f"expected videos (N,), segments (N, 2), labels (N,), got {shapes}")
    if scores is not None and scores.shape != (count,):
        raise ValueError(f"expected {count} scores, got {scores.shape}")
