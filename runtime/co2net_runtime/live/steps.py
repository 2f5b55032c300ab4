"""The network on streams, step by step: MODEL.live.onnx and its memory of each stream."""

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
class StreamState:
    """The network's memory of one stream from step to step."""

    received: int  # snippets fed so far
    state: Floats  # (2, S) float32, of the graph
    rows: Floats  # (kernel - 1, C + 2), cas and attention that ANT_CO2 pools the next ones with

    @staticmethod
    def initial(contract: Contract) -> "StreamState":
        """Return the state before the first snippet."""
        return StreamState(
            0,
            np.zeros((2, contract.state_dim), np.float32),
            np.zeros((contract.pool_kernel // 2, len(contract.classes) + 2), np.float32),
        )


@dataclass(frozen=True)
class Step:
    """New snippets (n, D) of one stream, and the temporal mean (D,) to see them with."""

    memory: StreamState
    features: Features
    context: Floats


def delay(contract: Contract) -> int:
    """Return the number of snippets by which the graph's outputs lag its inputs."""
    return contract.receptive_field.attention - contract.pool_kernel // 2


def advance(infer: Infer, contract: Contract, steps: Sequence[Step]) -> list[Floats]:
    """Feed new snippets to their streams; streams with the same number of them share a batch.

    Returns:
        For each stream the rows (m, C + 2), cas and then attention, of the next snippets whose
        outputs are now known; their lookahead is contract.receptive_field.attention.
    """
    return _advance(infer, contract, steps, [_ENDLESS] * len(steps))


def finish(infer: Infer, contract: Contract, step: Step) -> Floats:
    """Return the remaining rows of a stream that has ended; step.features is ignored."""
    memory = step.memory
    if not memory.received:
        return np.zeros((0, len(contract.classes) + 2), np.float32)
    padding = np.zeros((delay(contract), contract.feature_dim), np.float32)
    length = memory.received
    (rows,) = _advance(infer, contract, [Step(memory, padding, step.context)], [length])
    memory.received = length  # padding does not count as received
    after = np.zeros((contract.pool_kernel // 2, rows.shape[1]), np.float32)
    return np.concatenate([rows, _pool(memory, after, contract.pool_kernel)])


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
                "position": np.array([step.memory.received for step in own], np.int64),
                "length": np.array([lengths[index] for index in group], np.int64),
                "context": np.stack([step.context for step in own]),
                "state": np.stack([step.memory.state for step in own]),
            }
        )
        rows = np.concatenate([outputs["cas"], outputs["attention"]], axis=-1)
        for row, (index, step) in enumerate(zip(group, own, strict=True)):
            memory = step.memory
            # before the first outputs lie the zeros that pad the stream
            first = min(max(0, delay(contract) - memory.received), count)
            memory.received += count
            memory.state = outputs["next_state"][row].copy()
            found[index] = _pool(memory, rows[row, first:], contract.pool_kernel)
    return [found[index] for index in range(len(steps))]


def _pool(memory: StreamState, rows: Floats, kernel: int) -> Floats:
    """Return the temporal average pooling of the rows that have all their neighbors."""
    if kernel == 1:
        return rows
    rows = np.concatenate([memory.rows, rows])
    memory.rows = rows[-(kernel - 1) :].copy()
    if len(rows) < kernel:
        return rows[:0]
    windows = np.lib.stride_tricks.sliding_window_view(rows, kernel, axis=0)
    pooled: Floats = windows.mean(axis=-1, dtype=np.float32)
    return pooled
