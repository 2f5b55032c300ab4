"""Videos of any length at constant memory: the temporal mean first, then chunks with halo.

The network's only global term is the mean of its features; all else looks a few snippets to either
side. So the chunk graph, MODEL.chunk.onnx, which takes that mean as an input, gives on a chunk
with enough neighbors just what the graph for whole videos gives.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Arrays, Backend
from co2net_runtime.errors import ContractError, InputError
from co2net_runtime.features import Features, check_features, check_rows, common_length
from co2net_runtime.files.npy import check_not_cut

Floats = npt.NDArray[np.float32]

# 44 minutes at CO2-Net's timing; the full-size network then takes about 400 MB
DEFAULT_CHUNK = 4096
# rows of features read at a time for the mean
_MEAN_BLOCK = 4096


class FeatureRows:
    """The features of one video, read a few snippets at a time from disk."""

    def __init__(self, *parts: npt.NDArray[Any], where: str, feature_dim: int) -> None:
        """Take (T, D) floating-point, or the streams (T, rgb), (T, flow); memory-mapped or not.

        Raises InputError for another shape or dtype, or streams of lengths too different; `where`
        names the source. The values are checked when they are read.
        """
        self._parts, self._where = parts, where
        for part in parts:
            check_rows(part, where)
        lengths = [len(part) for part in parts]
        self._length = common_length(lengths[0], lengths[-1], where)
        width = sum(part.shape[1] for part in parts)
        if width != feature_dim:
            raise InputError(f"{where}: expected {feature_dim} channels a snippet, found {width}")
        self.feature_dim = width

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> Features:
        """Return the snippets [start, stop) as (n, D) float32.

        Raises InputError if a value is NaN or infinite.
        """
        where = f"{self._where}, snippets {start} to {stop - 1}"
        for part in self._parts:
            check_not_cut(part, self._where)
        blocks = [check_features(part[start:stop], where) for part in self._parts]
        # what is mapped counts as this process's memory, and may be read again from the cache
        for part in self._parts:
            if isinstance(part.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                part.base.madvise(mmap.MADV_DONTNEED)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def mean(self) -> Floats:
        """Return the temporal mean (D,), summed in float64; reads all features once."""
        total = np.zeros(self.feature_dim)
        for start in range(0, len(self), _MEAN_BLOCK):
            stop = min(start + _MEAN_BLOCK, len(self))
            total += self.read(start, stop).sum(axis=0, dtype=np.float64)
        return (total / len(self)).astype(np.float32)


@dataclass(frozen=True)
class Chunk:
    """The snippets [start, stop) are wanted; [low, high) must be read for them."""

    low: int
    start: int
    stop: int
    high: int


def split(length: int, chunk: int, halo: int) -> Iterator[Chunk]:
    """Yield the chunks of a video of `length` snippets, with up to `halo` snippets around each."""
    for start in range(0, length, chunk):
        stop = min(start + chunk, length)
        yield Chunk(max(0, start - halo), start, stop, min(length, stop + halo))


def run_in_chunks(
    graph: Backend[Contract], rows: FeatureRows, chunk: int, context: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return cas (T, C + 1) and attention (T,) of a whole video through its chunk graph.

    context: temporal mean (D,) float32, if it is known already. chunk: snippets per run; memory
    does not grow with T beyond the outputs.

    Raises InputError for features that cannot be used, BackendError if the engine fails.
    """
    contract = graph.contract
    context = rows.mean() if context is None else context
    cas = np.empty((len(rows), len(contract.classes) + 1), np.float32)
    attention = np.empty(len(rows), np.float32)
    parts = list(split(len(rows), chunk, contract.receptive_field.halo))
    batches: Iterator[Arrays] = (
        {
            "features": rows.read(part.low, part.high)[np.newaxis],
            "lengths": np.array([part.high - part.low], np.int64),
            "context": context[np.newaxis],
        }
        for part in parts
    )
    for part, outputs in zip(parts, graph.infer_each(batches), strict=True):
        inner = slice(part.start - part.low, part.stop - part.low)
        cas[part.start : part.stop] = outputs["cas"][0, inner]
        attention[part.start : part.stop] = outputs["attention"][0, inner, 0]
    return cas, attention


def sibling(path: str | os.PathLike[str], kind: str) -> Path:
    """Return the path of the graph of another kind beside MODEL.onnx, as MODEL.chunk.onnx."""
    return Path(path).with_suffix(f".{kind}.onnx")


def chunk_graph_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of MODEL.onnx's chunk graph; MODEL.stream.onnx if only that exists.

    That of MODEL.engine is MODEL.chunk.engine.
    """
    if Path(path).suffix == ".engine":
        return Path(path).with_suffix(".chunk.engine")
    current, former = sibling(path, "chunk"), sibling(path, "stream")
    return former if former.is_file() and not current.is_file() else current


def check_siblings(path: Path, contract: Contract, whole: Contract) -> None:
    """Raise ContractError unless a chunk graph comes from the same export as its MODEL.onnx."""
    if contract.graph != "chunk":
        raise ContractError(f"{path}: expected the chunk graph, found the {contract.graph} graph")
    for name in ("checkpoint_sha256", "precision", "classes", "timing", "decode"):
        if getattr(contract, name) != getattr(whole, name):
            raise ContractError(
                f"{path}: exported from another checkpoint or with other options than the model "
                f"beside it ({name} differs): export both again with --chunks"
            )
