"""The network on streams, step by step: MODEL.live.onnx and what it carries for each stream."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Arrays
from co2net_runtime.features import Features

Floats = npt.NDArray[np.float32]
Infer = Callable[[Arrays], Mapping[str, npt.NDArray[Any]]]

# The length of a stream whose end is not known. Not the largest int64: OpenVINO computes integers
# in 32 bits, and would take that for -1.
_ENDLESS = np.iinfo(np.int32).max


@dataclass
class Carried:
    """What the network carries for one stream from step to step.

    received: snippets fed so far. state: (2, S) float32 of the graph. rows: (kernel - 1, C + 2)
    float32, cas and attention that the next ones are pooled with, of ANT_CO2.
    """

    received: int
    state: Floats
    rows: Floats

    @staticmethod
    def initial(contract: Contract) -> "Carried":
        """Return what stands before the first snippet."""
        return Carried(
            0,
            np.zeros((2, contract.state_dim), np.float32),
            np.zeros((contract.pool_kernel // 2, len(contract.classes) + 2), np.float32),
        )


@dataclass(frozen=True)
class Step:
    """New snippets (n, D) of one stream, and the temporal mean (D,) to see them with."""

    carried: Carried
    features: Features
    context: Floats


def delay(contract: Contract) -> int:
    """Return how many snippets the graph's outputs lie behind its inputs."""
    return contract.receptive_field.attention - contract.pool_kernel // 2


def advance(infer: Infer, contract: Contract, steps: Sequence[Step]) -> list[Floats]:
    """Feed new snippets to their streams; streams with equally many share a batch.

    Returns for each the rows (m, C + 2), cas and then attention, of the next snippets whose
    outputs are now known; their lookahead is contract.receptive_field.attention.
    """
    return _advance(infer, contract, steps, [_ENDLESS] * len(steps))


def finish(infer: Infer, contract: Contract, step: Step) -> Floats:
    """Return the remaining rows of a stream that has ended; step.features is not looked at."""
    carried = step.carried
    if not carried.received:
        return np.zeros((0, len(contract.classes) + 2), np.float32)
    padding = np.zeros((delay(contract), contract.feature_dim), np.float32)
    length = carried.received
    (rows,) = _advance(infer, contract, [Step(carried, padding, step.context)], [length])
    carried.received = length  # the padding is none of the stream's
    after = np.zeros((contract.pool_kernel // 2, rows.shape[1]), np.float32)
    return np.concatenate([rows, _pool(carried, after, contract.pool_kernel)])


def _advance(
    infer: Infer, contract: Contract, steps: Sequence[Step], lengths: Sequence[int]
) -> list[Floats]:
    found: dict[int, Floats] = {}
    groups: dict[int, list[int]] = {}
    for index, step in enumerate(steps):
        groups.setdefault(len(step.features), []).append(index)
    for count, group in groups.items():
        own = [steps[index] for index in group]
        outputs = infer(
            {
                "features": np.stack([step.features for step in own]),
                "position": np.array([step.carried.received for step in own], np.int64),
                "length": np.array([lengths[index] for index in group], np.int64),
                "context": np.stack([step.context for step in own]),
                "state": np.stack([step.carried.state for step in own]),
            }
        )
        rows = np.concatenate([outputs["cas"], outputs["attention"]], axis=-1)
        for row, (index, step) in enumerate(zip(group, own, strict=True)):
            carried = step.carried
            # before the first outputs lie the zeros that pad the stream
            first = min(max(0, delay(contract) - carried.received), count)
            carried.received += count
            carried.state = outputs["next_state"][row].copy()
            found[index] = _pool(carried, rows[row, first:], contract.pool_kernel)
    return [found[index] for index in range(len(steps))]


def _pool(carried: Carried, rows: Floats, kernel: int) -> Floats:
    """Return the temporal average pooling of the rows that have all their neighbours."""
    if kernel == 1:
        return rows
    rows = np.concatenate([carried.rows, rows])
    carried.rows = rows[-(kernel - 1) :].copy()
    if len(rows) < kernel:
        return rows[:0]
    windows = np.lib.stride_tricks.sliding_window_view(rows, kernel, axis=0)
    pooled: Floats = windows.mean(axis=-1, dtype=np.float32)
    return pooled
