"""How far a backbone's features are from the reference's, and what is allowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.files.records import to_mapping

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureParity:
    """Differences measured on clips, one feature row for each."""

    clips: int  # how many
    cosine_min: float  # lowest cosine of a clip's row with the reference's
    cosine_mean: float
    max_abs: float  # largest absolute difference of a number
    mean_abs: float
    scale: float  # max(1, largest magnitude of the reference)

    def failures(self, gate: "FeatureGate") -> tuple[str, ...]:
        """Return the bounds of the gate that are exceeded, one phrase each; empty if it is met."""
        found = []
        if gate.cosine is not None and not self.cosine_min >= gate.cosine:
            found.append(f"lowest cosine of features {self.cosine_min:.6f} < {gate.cosine:g}")
        error = self.max_abs / self.scale
        if gate.max_abs is not None and not error <= gate.max_abs:
            found.append(f"max difference / max(1, max |features|) {error:.2g} > {gate.max_abs:g}")
        return tuple(found)

    def to_mapping(self, gate: "FeatureGate | None") -> dict[str, Any]:
        """Return the figures and the gate they were held against (None: none) as plain values."""
        return {**to_mapping(self), "gate": None if gate is None else to_mapping(gate)}


@dataclass(frozen=True)
class FeatureGate:
    """Bounds on what a backbone's artefact may change; None is not judged."""

    cosine: float | None = None  # lower bound of every clip's cosine
    max_abs: float | None = None  # upper bound, in units of max(1, max |features|)

    def __post_init__(self) -> None:
        for name, bound in vars(self).items():
            if bound is not None and not bound >= 0:
                raise ValueError(f"{name} must not be negative, got {bound}")


# Neighboring snippets of one video have cosines of 0.89 to 0.99.
GATES: Mapping[str, FeatureGate] = MappingProxyType(
    {
        "fp32": FeatureGate(max_abs=1e-5),
        "fp16": FeatureGate(cosine=0.9999, max_abs=0.01),
        "int8-cpu": FeatureGate(cosine=0.99, max_abs=0.2),
    }
)


def compare(pairs: Iterable[tuple[Rows, Rows]]) -> FeatureParity:
    """Compare feature rows with the reference's.

    Args:
        pairs: For each clip the reference's row and the artefact's, both (width,) float32.

    Raises:
        ValueError: There is no pair.
    """
    reference, artefact = (np.stack(rows).astype(np.float64) for rows in zip(*pairs, strict=True))
    difference = np.abs(artefact - reference)
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(artefact, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (reference * artefact).sum(axis=1) / norms
    # a row of zeros is like nothing but itself
    cosines = np.where(norms > 0, cosines, np.where(difference.max(axis=1) == 0, 1.0, 0.0))
    return FeatureParity(
        clips=len(reference),
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        scale=float(max(1.0, np.abs(reference).max())),
    )
