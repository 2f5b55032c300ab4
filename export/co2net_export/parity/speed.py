"""How much faster one graph is than another on this machine, if it is quiet enough to tell."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import Contract

SNIPPETS = 320
TURNS = 12
# a wider interval than this says more about the machine's other work than about the graphs
MAX_SPREAD = 1.5


@dataclass(frozen=True)
class Speedup:
    """How many times faster a graph is: an interval that holds the true median."""

    low: float
    high: float

    @property
    def told(self) -> bool:
        """Whether the machine was quiet enough to tell."""
        return self.high <= MAX_SPREAD * self.low

    def __str__(self) -> str:
        if not self.told:
            return "speed not told: this machine is busy"
        return f"{self.low:.2g} to {self.high:.2g} times its speed at {SNIPPETS} snippets here"


def speedup(baseline: Any, session: Any, contract: Contract) -> Speedup:
    """Measure how many times faster `session` runs one video than `baseline`, in turns.

    Other work on the machine slows both runs of a turn, so the ratios of turns are compared, not
    the times. The interval leaves out the 2 lowest and the 2 highest of 12 ratios: it holds their
    true median with a confidence of 96 % (sign test: 1 - 2 * (1 + 12 + 66) / 2**12).

    Args:
        baseline: ONNX Runtime session of a graph for whole videos.
        session: Another one.
        contract: Of either.
    """
    features = np.random.default_rng(0).random((1, SNIPPETS, contract.feature_dim), np.float32)
    feeds = {"features": features, "lengths": np.array([SNIPPETS])}

    def seconds(candidate: Any) -> float:
        start = time.perf_counter()
        candidate.run(contract.outputs, feeds)
        return time.perf_counter() - start

    # the first turn allocates
    ratios = [seconds(baseline) / seconds(session) for _ in range(TURNS + 1)][1:]
    return interval(ratios)


def interval(ratios: list[float]) -> Speedup:
    """Return the third lowest and the third highest ratio."""
    ordered = sorted(ratios)
    return Speedup(ordered[2], ordered[-3])
