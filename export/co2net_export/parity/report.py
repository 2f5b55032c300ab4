"""What was measured of an artefact on the rungs of the parity ladder, as plain records."""

from dataclasses import dataclass
from typing import Any

from co2net_export.parity.decisions import Decisions
from co2net_export.parity.gate import Gate
from co2net_runtime.files.records import to_mapping


@dataclass(frozen=True)
class Difference:
    """Absolute difference of one output over all valid snippets of all cases."""

    max_abs: float
    mean_abs: float
    p999_abs: float


@dataclass(frozen=True)
class TensorParity:
    """Differences of cas and attention; scale = max(1, max |cas|) of the PyTorch model."""

    cas: Difference
    attention: Difference
    scale: float

    @property
    def max_ratio(self) -> float:
        """Largest absolute difference of either output, in units of the scale."""
        return max(self.cas.max_abs, self.attention.max_abs) / self.scale

    @property
    def mean_ratio(self) -> float:
        """Larger mean absolute difference of the two outputs, in units of the scale."""
        return max(self.cas.mean_abs, self.attention.mean_abs) / self.scale


@dataclass(frozen=True)
class Accuracy:
    """Average detection mAP over tIoU 0.1:0.7 of PyTorch and of the artefact, in percent."""

    reference: float
    artefact: float

    @property
    def difference(self) -> float:
        """Points that the artefact is better (positive) or worse."""
        return self.artefact - self.reference


@dataclass(frozen=True)
class Proof:
    """What was measured of one artefact; None where there were no videos or annotations."""

    tensors: TensorParity
    decisions: Decisions | None = None
    accuracy: Accuracy | None = None

    def failures(self, gate: Gate) -> tuple[str, ...]:
        """Return what exceeds the gate's bounds, one phrase each; nothing if it is met."""
        measured: list[tuple[str, float, float | None]] = [
            ("max difference / max(1, max |cas|)", self.tensors.max_ratio, gate.max_abs),
            ("mean difference / max(1, max |cas|)", self.tensors.mean_ratio, gate.mean_abs),
        ]
        if self.decisions is not None:
            measured.append(("share of segments changed", self.decisions.changed, gate.segments))
        if self.accuracy is not None:
            measured.append(
                ("mAP difference in points", abs(self.accuracy.difference), gate.map_points)
            )
        return tuple(
            f"{name} {value:.2g} > {bound:g}"
            for name, value, bound in measured
            if bound is not None and not value <= bound
        )

    def to_mapping(self, gate: Gate | None) -> dict[str, Any]:
        """Return the figures and the gate they were held against (None: none) as plain values."""
        return {
            **to_mapping(self),
            "gate": None if gate is None else to_mapping(gate),
        }
