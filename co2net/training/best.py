"""Which iteration's weights become best.ckpt."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from co2net.config import Select
from co2net.training.validation import DetectionScores, LabelScores
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import number_of

# how every table names the choice
SELECTIONS: dict[Select, str] = {
    "last": "the last iteration",
    "best-on-holdout": "chosen by the video labels of held-out training videos",
    "best-on-test": "chosen on the test set, as published: optimistic",
}


@dataclass(frozen=True)
class Score:
    """A value to compare evaluations by; greater is better."""

    value: float
    tie_break: float = 0.0  # decides among ties, greater wins
    tolerance: float = 0.0  # values this close to the highest one seen are ties


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    iteration: int
    value: float  # its Score
    tie_break: float
    top: float  # the highest value of any evaluation
    stale: int = 0  # evaluations since the best one


def update_best(best: Best | None, iteration: int, score: Score) -> Best:
    """Return the best after one more evaluation; of equal ones the earlier stays."""
    top = score.value if best is None else max(best.top, score.value)
    tied = top - score.tolerance
    if best is not None and (
        score.value < tied or (best.value >= tied and best.tie_break >= score.tie_break)
    ):
        return replace(best, top=top, stale=best.stale + 1)
    return Best(iteration, score.value, score.tie_break, top)


def selection_score(
    select: Select, detection: DetectionScores | None, labels: LabelScores | None
) -> Score:
    """Return the score that `select` compares.

    On the hold-out this is the classification mAP, and the loss where mAPs tie: one held-out video
    more or less in its place is no difference, so mAPs within 1 / videos are ties.

    Raises InputError if the score is NaN or infinite, which cannot be compared.
    """
    if select == "best-on-holdout":
        assert labels is not None
        score = Score(labels.classification_map, -labels.loss, 1 / labels.videos)
    else:
        assert select == "best-on-test"
        assert detection is not None
        score = Score(headline_average(detection.averages)[1])
    if not (math.isfinite(score.value) and math.isfinite(score.tie_break)):
        raise InputError(
            f"the evaluation cannot choose a checkpoint: mAP {score.value:.4g}, loss "
            f"{-score.tie_break:.4g}: lower learning_rate, or pass another --select"
        )
    return score


def headline_average(averages: dict[str, float]) -> tuple[str, float]:
    """Return name and value of the average mAP that papers quote: .1:.7, else over all tIoUs."""
    name = "0.1:0.7" if "0.1:0.7" in averages else "all"
    return name, averages[name]


def undecided_note(records: Iterable[Mapping[str, Any]]) -> str | None:
    """Return a note if the hold-out's mAP ties in all evaluations, so that the loss chose.

    Args:
        records: The lines of metrics.jsonl.
    """
    found = [record["holdout"] for record in records if record.get("holdout")]
    maps = [each["classification_map"] for each in found]
    if len(maps) < 2 or max(maps) - min(maps) > 1 / found[0]["videos"]:
        return None
    return (
        f"the hold-out's mAP could not choose between {number_of(len(maps), 'evaluation')} "
        f"({100 * min(maps):.2f} to {100 * max(maps):.2f} on {found[0]['videos']} videos): the "
        "loss chose"
    )
