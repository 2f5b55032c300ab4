"""The bounds that an artefact must keep to be written, by precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Gate:
    """Upper bounds on what an artefact may change; None: not judged."""

    # largest and mean absolute difference of cas and of attention, in units of max(1, max |cas|)
    max_abs: float | None = None
    mean_abs: float | None = None
    # segments lost, added or moved by more than a snippet, as a share of the reference's segments
    segments: float | None = None
    # absolute difference of the average mAP, in percentage points
    map_points: float | None = None

    def __post_init__(self) -> None:
        for name, bound in vars(self).items():
            if bound is not None and not bound >= 0:
                raise ValueError(f"{name} must not be negative, got {bound}")


GATES: Mapping[str, Gate] = MappingProxyType(
    {
        "fp32": Gate(max_abs=1e-5),
        "fp16": Gate(mean_abs=1e-3, segments=0.005, map_points=0.1),
        # of how an engine computes, not of a file: co2net-infer --bf16
        "bf16": Gate(mean_abs=1e-2, segments=0.03, map_points=0.5),
        "int8-cpu": Gate(segments=0.03, map_points=0.5),
        "int8-trt": Gate(segments=0.03, map_points=0.5),
        "int8-cpu and bf16": Gate(segments=0.03, map_points=0.5),
    }
)

# Winograd's form rounds more: its windows hold differences of neighbors, times up to 8
OPTIMIZED_FP32 = Gate(max_abs=1e-4)


def with_bf16(precision: str) -> str:
    """Return what --bf16 makes of a file's precision: int8 layers stay int8."""
    return f"{precision} and bf16" if precision.startswith("int8") else "bf16"


def default_gate(precision: str, optimize: str) -> Gate:
    """Return the bounds for an artefact of this precision and form."""
    if precision == "fp32" and optimize == "cpu":
        return OPTIMIZED_FP32
    return GATES[precision]
