"""The temporal mean that replaces, in a live stream, the mean of the whole video."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.features import Features

ContextName = Literal["running", "exponential", "prior"]
CONTEXTS: tuple[ContextName, ...] = ("running", "exponential", "prior")


class TemporalMean:
    """The mean of the snippets so far, started from a prior that counts as some snippets.

    With decay 1 it is the running mean of the whole stream, below 1 the exponential mean, in which
    a snippet n snippets back weighs decay^n; both are unbiased from the first snippet on. With
    decay 0 it stays at the prior.
    """

    def __init__(self, prior: npt.NDArray[np.floating[Any]], weight: float, decay: float) -> None:
        """Start from the prior (D,), which weighs as `weight` snippets."""
        self._fixed = decay == 0
        self._decay, self._weight = decay, 1.0 if self._fixed else weight
        self._sum = prior.astype(np.float64) * self._weight

    def update(self, features: Features) -> None:
        """Take the next snippets (n, D)."""
        if self._fixed:
            return
        for row in features:
            self._sum = self._decay * self._sum + row
            self._weight = self._decay * self._weight + 1

    def mean(self) -> npt.NDArray[np.float32]:
        """Return the mean (D,) float32."""
        return (self._sum / max(self._weight, 1e-12)).astype(np.float32)

    def state(self) -> npt.NDArray[np.float64]:
        """Return the sum and the weight, (D + 1,)."""
        return np.append(self._sum, self._weight)

    def restore(self, state: npt.NDArray[np.float64]) -> None:
        """Go on from what `state` returned. Raises ValueError if it is of another width."""
        if state.shape != (len(self._sum) + 1,):
            raise ValueError("a mean of another width")
        self._sum, self._weight = state[:-1].astype(np.float64), float(state[-1])
