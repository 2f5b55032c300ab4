"""How near the decoder's decisions were: distances to the thresholds, before anything flipped."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from co2net_runtime.decoding.decisions import Outputs
from co2net_runtime.decoding.proposals import class_probabilities
from co2net_runtime.options import DecodeOptions

EDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Margins:
    """Distances of the reference to the thresholds, and the decisions that the artefact changed.

    Attention is compared with every threshold at every snippet, class probabilities with the
    class threshold once per class and video.
    """

    decisions: int  # attention decisions
    edges: tuple[float, ...]
    within: tuple[float, ...]  # share of the distances below each of `edges`
    at_risk: float  # share of those below the artefact's largest difference in that video
    crossed: int  # that fell on the other side
    class_decisions: int
    class_nearest: float  # smallest distance of a class probability to the class threshold
    class_crossed: int  # that fell on the other side


def measure_margins(
    references: Sequence[Outputs], outputs: Sequence[Outputs], options: DecodeOptions
) -> Margins:
    """Compare an artefact's outputs with the references, video by video; at least one video."""
    thresholds = options.thresholds
    decisions = at_risk = crossed = class_decisions = class_crossed = 0
    within = np.zeros(len(EDGES), dtype=np.int64)
    nearest = np.inf
    for expected, found in zip(references, outputs, strict=True):
        margin = expected.attention.astype(np.float64) - thresholds[:, None]
        flipped = (margin > 0) != (found.attention > thresholds[:, None])
        distance = np.abs(margin)
        largest = np.abs(expected.attention - found.attention).max()
        decisions += distance.size
        within += [(distance < edge).sum() for edge in EDGES]
        at_risk += int((distance < largest).sum())
        crossed += int(flipped.sum())
        wanted = class_probabilities(expected.cas, expected.attention, options)
        given = class_probabilities(found.cas, found.attention, options)
        gate = options.class_threshold
        nearest = min(nearest, float(np.abs(wanted - gate).min()))
        class_decisions += len(wanted)
        class_crossed += int(((wanted >= gate) != (given >= gate)).sum())
    return Margins(
        decisions=decisions,
        edges=EDGES,
        within=tuple((within / decisions).tolist()),
        at_risk=at_risk / decisions,
        crossed=crossed,
        class_decisions=class_decisions,
        class_nearest=nearest,
        class_crossed=class_crossed,
    )
