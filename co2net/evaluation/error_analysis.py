"""Types of errors and their costs, in the spirit of DETAD (Alwassel et al., ECCV 2018).

Each prediction has one type at a tIoU threshold, the first that applies:

- true positive: it took an instance;
- double detection: its class, at the threshold, but the instance was taken by a higher score;
- wrong label: an instance of another class at the threshold;
- localization: an instance of its class, below the threshold but at least `near_tiou`;
- confusion: an instance of another class, below the threshold but at least `near_tiou`;
- background: none of these.

An instance that no prediction took is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net.evaluation.mean_ap import (
    Floats,
    GroundTruth,
    Integers,
    Predictions,
    Protocol,
    candidate_pairs,
    detection_map,
)
from co2net.evaluation.protocol import Evaluation

PREDICTION_TYPES = (
    "true positive",
    "double detection",
    "wrong label",
    "localization",
    "confusion",
    "background",
)
ERROR_TYPES = PREDICTION_TYPES[1:]
MISSED = "missed"
LENGTH_NAMES = ("XS", "S", "M", "L", "XL")


@dataclass(frozen=True)
class AnalysisOptions:
    """The thresholds of the analysis."""

    tious: tuple[float, ...] = (0.5,)  # to analyze at
    near_tiou: float = 0.1  # below it a prediction is about background, not about an instance
    length_bounds_s: tuple[float, float, float, float] = (3.0, 6.0, 12.0, 18.0)  # of XS, S, M, L

    def __post_init__(self) -> None:
        if not 0 < self.near_tiou <= min(self.tious) <= max(self.tious) <= 1:
            raise ValueError(
                f"expected 0 < near_tiou <= tious <= 1, got {self.near_tiou} and {self.tious}"
            )
        if list(self.length_bounds_s) != sorted(self.length_bounds_s):
            raise ValueError(f"length bounds must ascend, got {self.length_bounds_s}")

    @staticmethod
    def of(protocol: Protocol, tious: tuple[float, ...] = (0.5,)) -> "AnalysisOptions":
        """Return the lengths usual for the protocol's dataset: THUMOS14 or ActivityNet."""
        if protocol == "activitynet":
            return AnalysisOptions(tious, length_bounds_s=(30.0, 60.0, 120.0, 180.0))
        return AnalysisOptions(tious)


@dataclass(frozen=True)
class PredictionCount:
    """Number of predictions of one type."""

    type: str
    total: int  # among all
    top: int  # among those that a class with G instances ranks first to G-th


@dataclass(frozen=True)
class ErrorCost:
    """The cost of one type of error at the threshold, in fractions of 1.

    The gains do not add up to 1 - mAP: one error hides another.
    """

    type: str  # an error type or "missed"
    map_without: float  # the mAP once these predictions, or the missed instances, are removed
    gain: float  # its difference from the mAP


@dataclass(frozen=True)
class LengthBin:
    """Instances longer than `above_s` and at most `up_to_s` (None: no bound), and those missed."""

    name: str
    above_s: float
    up_to_s: float | None
    instances: int
    missed: int


@dataclass(frozen=True)
class ErrorAnalysis:
    """Types of all predictions, their costs, and the missed instances, at one tIoU threshold."""

    tiou: float
    map: float
    predictions: tuple[PredictionCount, ...]
    costs: tuple[ErrorCost, ...]
    lengths: tuple[LengthBin, ...]


def analyze(evaluation: Evaluation, options: AnalysisOptions) -> tuple[ErrorAnalysis, ...]:
    """Return the error analysis at each threshold of the options."""
    return tuple(_analyze_at(evaluation, tiou, options) for tiou in options.tious)


def prediction_types(
    ground_truth: GroundTruth,
    predictions: Predictions,
    matches: Integers,
    tiou: float,
    near_tiou: float,
) -> Integers:
    """Return the type of each prediction, (P,) int64: an index into PREDICTION_TYPES.

    matches: (P,) int64, the instance that each one took at `tiou`, -1 for none.
    """
    pairs = candidate_pairs(ground_truth, predictions, near_tiou, same_class=False)
    own = ground_truth.labels[pairs.instance] == predictions.labels[pairs.prediction]
    good = pairs.tiou >= tiou
    conditions = [matches >= 0]
    for chosen in (own & good, ~own & good, own, ~own):
        condition = np.zeros(len(predictions), dtype=np.bool_)
        condition[pairs.prediction[chosen]] = True
        conditions.append(condition)
    background = PREDICTION_TYPES.index("background")
    return np.select(conditions, list(range(background)), background).astype(np.int64)


def _analyze_at(evaluation: Evaluation, tiou: float, options: AnalysisOptions) -> ErrorAnalysis:
    truth, predictions = evaluation.ground_truth, evaluation.predictions
    class_count = len(evaluation.result.instances)
    result = detection_map(truth, predictions, class_count, (tiou,))
    matches = result.matches[0]
    types = prediction_types(truth, predictions, matches, tiou, options.near_tiou)
    missed = np.ones(len(truth), dtype=np.bool_)
    missed[matches[matches >= 0]] = False

    top = _top_ranked(predictions, result.instances)
    counts = tuple(
        PredictionCount(name, int((types == code).sum()), int((types[top] == code).sum()))
        for code, name in enumerate(PREDICTION_TYPES)
    )
    mean = float(result.map[0])
    without = {
        name: detection_map(truth, predictions.select(types != code), class_count, (tiou,)).map[0]
        for code, name in enumerate(PREDICTION_TYPES)
        if name in ERROR_TYPES
    }
    without[MISSED] = _map_without_missed(result.ap[0], result.instances, truth.labels[missed])
    costs = tuple(
        ErrorCost(name, float(value), float(value) - mean) for name, value in without.items()
    )
    lengths = _by_length(evaluation.instance_s, missed, options.length_bounds_s)
    return ErrorAnalysis(tiou, mean, counts, costs, lengths)


def _top_ranked(predictions: Predictions, instances: Integers) -> Integers:
    """Return the rows of the best `instances[c]` predictions of each class c."""
    rows = [np.zeros(0, dtype=np.int64)]
    order = np.argsort(-predictions.scores, kind="stable")
    for label in np.flatnonzero(instances):
        rows.append(order[predictions.labels[order] == label][: instances[label]])
    return np.concatenate(rows)


def _map_without_missed(ap: Floats, instances: Integers, missed_labels: Integers) -> float:
    """Rescale AP, a sum over the found instances divided by the number of all.

    A class of which nothing was found keeps its AP of 0.
    """
    missed = np.bincount(missed_labels, minlength=len(instances))
    measured = instances > 0
    found = (instances - missed)[measured]
    scale = np.where(found > 0, instances[measured] / np.maximum(found, 1), 0.0)
    return float((ap[measured] * scale).mean())


def _by_length(
    segments_s: Floats,
    missed: npt.NDArray[np.bool_],
    bounds_s: Sequence[float],
) -> tuple[LengthBin, ...]:
    bins = np.searchsorted(bounds_s, segments_s[:, 1] - segments_s[:, 0], side="left")
    lows, highs = (0.0, *bounds_s), (*bounds_s, None)
    return tuple(
        LengthBin(name, lows[i], highs[i], int((bins == i).sum()), int(missed[bins == i].sum()))
        for i, name in enumerate(LENGTH_NAMES)
    )
