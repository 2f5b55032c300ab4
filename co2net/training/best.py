"""Which iteration's weights become best.ckpt."""

from dataclasses import dataclass, replace

from co2net.config import Select
from co2net.training.validation import DetectionScores, LabelScores

# how every table names the choice
LABELS: dict[Select, str] = {
    "last": "the last iteration",
    "best-on-holdout": "chosen by the video labels of held-out training videos",
    "best-on-test": "chosen on the test set, as published: optimistic",
}


@dataclass(frozen=True)
class Score:
    """What evaluations are compared by: greater values are better.

    Values that lie within `tolerance` of the highest one seen are ties, which the greater
    `tie_break` wins.
    """

    value: float
    tie_break: float = 0.0
    tolerance: float = 0.0


@dataclass(frozen=True)
class Best:
    """The best evaluation so far.

    top: the highest value seen. stale: evaluations since the best one.
    """

    iteration: int
    value: float
    tie_break: float
    top: float
    stale: int = 0


def update(best: Best | None, iteration: int, score: Score) -> Best:
    """Return the best after one more evaluation; of equal ones the earlier stays."""
    top = score.value if best is None else max(best.top, score.value)
    tied = top - score.tolerance
    if best is not None and (
        score.value < tied or (best.value >= tied and best.tie_break >= score.tie_break)
    ):
        return replace(best, top=top, stale=best.stale + 1)
    return Best(iteration, score.value, score.tie_break, top)


def score_of(
    select: Select, detection: DetectionScores | None, labels: LabelScores | None
) -> Score:
    """Return what `select` compares.

    On the hold-out this is the classification mAP, and the loss where that ties. One held-out
    video more or less in its place is no difference: mAPs within 1 / videos are ties.
    """
    if select == "best-on-holdout":
        assert labels is not None
        return Score(labels.classification_map, -labels.loss, 1 / labels.videos)
    assert select == "best-on-test"
    assert detection is not None
    return Score(headline(detection.averages)[1])


def headline(averages: dict[str, float]) -> tuple[str, float]:
    """Return the average mAP that papers quote: .1:.7 where it was measured, else over all."""
    name = "0.1:0.7" if "0.1:0.7" in averages else "all"
    return name, averages[name]
