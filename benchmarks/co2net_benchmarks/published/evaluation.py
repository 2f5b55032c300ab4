"""The published evaluator's loop, transcribed plainly from method, section 5: the baseline."""

from collections.abc import Sequence

import numpy as np

from co2net.evaluation.mean_ap import Floats, GroundTruth, Predictions


def plain_average_precision(
    ground_truth: GroundTruth, predictions: Predictions, class_count: int, tious: Sequence[float]
) -> Floats:
    """Return the AP per threshold and class, (K, C) float64, NaN for a class without instances.

    One prediction after the other, one instance after the other, as one would write it down.
    """
    ap = np.full((len(tious), class_count), np.nan)
    for label in range(class_count):
        instances: dict[int, list[tuple[float, float]]] = {}
        for video, (start, end), truth_label in zip(
            ground_truth.videos.tolist(),
            ground_truth.segments.tolist(),
            ground_truth.labels.tolist(),
            strict=True,
        ):
            if truth_label == label:
                instances.setdefault(video, []).append((start, end))
        count = sum(len(segments) for segments in instances.values())
        if not count:
            continue
        ranked = [row for row in np.argsort(-predictions.scores, kind="stable").tolist()
                  if predictions.labels[row] == label]  # fmt: skip
        for row, threshold in enumerate(tious):
            ap[row, label] = _area(_hits(predictions, ranked, instances, threshold), count)
    return ap


def _hits(
    predictions: Predictions,
    ranked: list[int],
    instances: dict[int, list[tuple[float, float]]],
    threshold: float,
) -> list[bool]:
    taken = set()
    hits = []
    for row in ranked:
        video = int(predictions.videos[row])
        start, end = predictions.segments[row].tolist()
        overlaps = []
        for index, (truth_start, truth_end) in enumerate(instances.get(video, [])):
            inter = max(0.0, min(end, truth_end) - max(start, truth_start))
            union = (end - start) + (truth_end - truth_start) - inter
            overlaps.append((inter / union if union > 0 else 0.0, index))
        hit = False
        for tiou, index in sorted(overlaps, reverse=True):
            if tiou >= threshold and (video, index) not in taken:
                taken.add((video, index))
                hit = True
                break
        hits.append(hit)
    return hits


def _area(hits: list[bool], count: int) -> float:
    precisions, recalls, found = [0.0], [0.0], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precisions.append(found / rank)
        recalls.append(found / count)
    precisions.append(0.0)
    recalls.append(1.0)
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    return sum(
        (recalls[i] - recalls[i - 1]) * precisions[i]
        for i in range(1, len(recalls))
        if recalls[i] != recalls[i - 1]
    )
