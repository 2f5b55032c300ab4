"""Artefacts against the PyTorch model: what a parity run found, as plain records."""

from dataclasses import dataclass
from typing import Literal

from co2net_benchmarks.parity.margins import Margins
from co2net_export.parity.decisions import Decisions
from co2net_export.parity.gate import Gate
from co2net_export.parity.report import Accuracy, Difference, TensorParity


@dataclass(frozen=True)
class TensorStep:
    """One tensor that both graphs compute.

    node: the node that makes it, op: its operator, in the artefact. max_abs: largest absolute
    difference, None where there is none to speak of: another shape, or values that are not
    finite. scale: max(1, largest absolute value in the reference). diverged: whether the ratio of
    the two exceeds the tolerance.
    """

    tensor: str
    node: str
    op: str
    max_abs: float | None
    scale: float
    diverged: bool


def first_diverging(steps: tuple[TensorStep, ...]) -> TensorStep | None:
    """Return the first tensor above the tolerance, None if there is none."""
    return next((step for step in steps if step.diverged), None)


@dataclass(frozen=True)
class TensorRow:
    """Differences on one group of videos; scale: max(1, max |cas|) of PyTorch on it."""

    group: str
    videos: int
    snippets: int
    scale: float
    cas: Difference
    attention: Difference


@dataclass(frozen=True)
class ArtefactParity:
    """One artefact; `reason` says why it could not be compared.

    same_checkpoint: whether its contract names the checkpoint it is compared with. tensors: by
    group of videos; overall: all of them. decisions, margins: on the videos given, else on the
    planted ones; decisions_judged: whether the gate applies to them (not on planted videos: how
    often decisions on them change says little). accuracy: where there are annotations. gate: the
    bounds; failures: what exceeds them. bisection: tensors in the graph's order, if asked for.
    """

    name: str
    file: str
    model_bytes: int
    status: Literal["measured", "failed"]
    reason: str = ""
    precision: str = ""
    same_checkpoint: bool = True
    tensors: tuple[TensorRow, ...] = ()
    overall: TensorParity | None = None
    decisions: Decisions | None = None
    decisions_judged: bool = False
    margins: Margins | None = None
    accuracy: Accuracy | None = None
    gate: Gate | None = None
    failures: tuple[str, ...] = ()
    bisection: tuple[TensorStep, ...] = ()


@dataclass(frozen=True)
class ParityResults:
    """All artefacts against one checkpoint; judged_on: the videos behind the decisions."""

    checkpoint: str
    judged_on: str
    artefacts: tuple[ArtefactParity, ...]
