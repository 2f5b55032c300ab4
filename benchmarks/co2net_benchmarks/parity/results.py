"""Artefacts against the PyTorch model: the results of a parity run as plain records."""

from dataclasses import dataclass
from typing import Literal

from co2net_benchmarks.parity.margins import Margins
from co2net_export.parity.gate import Gate
from co2net_export.parity.report import Accuracy, Difference, TensorParity
from co2net_runtime.decoding.decisions import Decisions


@dataclass(frozen=True)
class TensorStep:
    """One tensor that both graphs compute."""

    tensor: str
    node: str  # that makes it in the artefact
    op: str  # its operator
    max_abs: float | None  # largest absolute difference; None: another shape, or not finite
    scale: float  # max(1, largest absolute value in the reference)
    diverged: bool  # whether max_abs / scale exceeds the tolerance


def first_diverging(steps: tuple[TensorStep, ...]) -> TensorStep | None:
    """Return the first tensor above the tolerance, None if there is none."""
    return next((step for step in steps if step.diverged), None)


@dataclass(frozen=True)
class TensorRow:
    """Differences on one group of videos."""

    group: str
    videos: int
    snippets: int
    scale: float  # max(1, max |cas|) of PyTorch on the group
    cas: Difference
    attention: Difference


@dataclass(frozen=True)
class ArtefactParity:
    """One artefact against the checkpoint."""

    name: str
    file: str
    model_bytes: int
    status: Literal["measured", "failed"]
    reason: str = ""  # why it could not be compared
    precision: str = ""
    same_checkpoint: bool = True  # its contract names the checkpoint it is compared with
    tensors: tuple[TensorRow, ...] = ()  # by group of videos
    overall: TensorParity | None = None  # on all videos
    decisions: Decisions | None = None  # on the videos given, else on the planted ones
    decisions_judged: bool = False  # by the gate; not on planted videos, which say little of them
    margins: Margins | None = None  # on the same videos as the decisions
    accuracy: Accuracy | None = None  # where there are annotations
    gate: Gate | None = None  # the bounds
    failures: tuple[str, ...] = ()  # the bounds that are exceeded
    bisection: tuple[TensorStep, ...] = ()  # in the graph's order, if asked for


@dataclass(frozen=True)
class ParityResults:
    """All artefacts against one checkpoint."""

    checkpoint: str
    judged_on: str  # the videos behind the decisions, in words
    artefacts: tuple[ArtefactParity, ...]
