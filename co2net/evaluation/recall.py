"""Recall@k: are the instances among the best k segments of their video and class?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from co2net.evaluation.mean_ap import Integers, Predictions, candidate_pairs
from co2net.evaluation.protocol import Evaluation


@dataclass(frozen=True)
class Recall:
    """Share of the annotated instances that one of the best k segments found."""

    k: int  # segments per video and class, by score
    recall: tuple[float, ...]  # per tIoU threshold, fractions of 1


def recall_at(evaluation: Evaluation, counts: Sequence[int]) -> tuple[Recall, ...]:
    """Return the recall at each k and threshold of the evaluation.

    An instance is found if one of the k segments of its video and class with the highest scores
    reaches the threshold; unlike in the mAP a segment may find several.
    """
    truth, predictions = evaluation.ground_truth, evaluation.predictions
    tious = evaluation.result.tious
    ranks = _ranks(predictions)
    pairs = candidate_pairs(truth, predictions, min(tious))
    found = []
    for k in counts:
        shares = []
        for tiou in tious:
            good = (pairs.tiou >= tiou) & (ranks[pairs.prediction] < k)
            shares.append(len(np.unique(pairs.instance[good])) / len(truth))
        found.append(Recall(k, tuple(shares)))
    return tuple(found)


def _ranks(predictions: Predictions) -> Integers:
    """Return each prediction's place, from 0, among those of its video and class, (P,)."""
    order = np.lexsort((-predictions.scores, predictions.labels, predictions.videos))
    keys = np.stack([predictions.videos[order], predictions.labels[order]])
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    position = np.arange(len(order))
    first = np.maximum.accumulate(np.where(begins, position, 0))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = position - first
    return ranks
