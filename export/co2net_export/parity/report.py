"""The figures of a parity check, as plain records."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_export.parity.gate import Gate
from co2net_runtime.decoding.decisions import Decisions
from co2net_runtime.files.records import to_mapping


@dataclass(frozen=True)
class Difference:
    """Absolute difference of one output over all valid snippets of all cases."""

    max_abs: float
    mean_abs: float
    p999_abs: float  # the 99.9th percentile

    @staticmethod
    def of(values: npt.NDArray[np.float32]) -> "Difference":
        """Summarize the absolute differences of all values, (N,) with N >= 1."""
        return Difference(
            max_abs=float(values.max()),
            mean_abs=float(values.mean(dtype=np.float64)),
            p999_abs=float(np.quantile(values, 0.999)),
        )


@dataclass(frozen=True)
class TensorParity:
    """Level 1: differences of the outputs."""

    cas: Difference
    attention: Difference
    scale: float  # max(1, max |cas|) of the PyTorch model

    @property
    def max_ratio(self) -> float:
        """The largest absolute difference of either output, in units of the scale."""
        return max(self.cas.max_abs, self.attention.max_abs) / self.scale

    @property
    def mean_ratio(self) -> float:
        """The larger mean absolute difference of the two outputs, in units of the scale."""
        return max(self.cas.mean_abs, self.attention.mean_abs) / self.scale


@dataclass(frozen=True)
class Accuracy:
    """Level 3: average detection mAP over tIoU 0.1:0.7, in percent."""

    reference: float  # of the PyTorch model
    artefact: float

    @property
    def difference(self) -> float:
        """Percentage points that the artefact gains; negative for a loss."""
        return self.artefact - self.reference


@dataclass(frozen=True)
class ParityReport:
    """How far one artefact is from its PyTorch model."""

    tensors: TensorParity
    decisions: Decisions | None = None  # None: no held-out videos
    accuracy: Accuracy | None = None  # None: no annotated held-out videos

    def failures(self, gate: Gate) -> tuple[str, ...]:
        """Return one phrase for each bound of the gate that is exceeded; none if it holds."""
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
        """Return the figures and the gate that was enforced (None: none was) as plain values."""
        return {
            **to_mapping(self),
            "gate": None if gate is None else to_mapping(gate),
        }
