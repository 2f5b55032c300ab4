"""Features -> activations: one model's engine, its chunk graph, and which videos share a call."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Backend, EngineInfo, EngineOptions
from co2net_runtime.backends.buckets import bucket
from co2net_runtime.backends.options import CpuForm
from co2net_runtime.backends.ort.providers import CPU
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.decoding.proposals import is_finite
from co2net_runtime.errors import BackendError, Co2netError, InputError
from co2net_runtime.features import Features, check_features
from co2net_runtime.files.hub import local_model
from co2net_runtime.network.batching import group_by_length, group_to_pack, pad
from co2net_runtime.network.chunks import (
    DEFAULT_CHUNK,
    FeatureRows,
    check_siblings,
    chunk_graph_path,
    run_in_chunks,
)

logger = logging.getLogger(__name__)

# a GPU gains from batches; on a CPU padded batches were slower than one video after another
GPU_BATCH, CPU_BATCH = 8, 1
# and fills it with this many snippets, which bounds the memory that a batch takes
GPU_SNIPPETS = 4096

GRAPH_USES = {"chunk": "chunks of a video", "live": "live streams"}


@dataclass(frozen=True)
class Activations:
    """The network's outputs for one video."""

    cas: npt.NDArray[np.float32]  # (T, C + 1) logits, background last
    attention: npt.NDArray[np.float32]  # (T,) in (0, 1)


class Network:
    """One opened model: features of any number of videos of any length -> activations.

    It holds no state between calls, may be called from several threads, and pickles: the copy
    opens the model again.

    Example:
        with Network.open("model.onnx", EngineOptions(device="cpu")) as network:
            (activations,) = network.run([features])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        backend: Backend[Contract],
        options: EngineOptions,
        chunk: int | None,
    ) -> None:
        """Use `Network.open`."""
        self.path = os.fspath(path)
        self.options = options
        self._backend = backend
        self._chunk = chunk
        self._chunk_graph: Backend[Contract] | None = None
        self._opening = threading.Lock()

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        options: EngineOptions = EngineOptions(),
        *,
        chunk: int | None = None,
    ) -> "Network":
        """Open a model; arguments and errors are those of `Localizer.load`."""
        if chunk is not None and chunk < 1:
            raise InputError(f"chunk {chunk}: expected at least 1 snippet")
        path = local_model(path)
        backend = open_backend(path, options)
        kind = backend.contract.graph
        if kind != "whole":
            backend.close()
            raise InputError(f"{path}: the graph for {GRAPH_USES[kind]}: give the one beside it")
        if chunk is not None and not chunk_graph_path(path).is_file():
            backend.close()
            raise InputError(
                f"{chunk_graph_path(path)}: no such file, and chunks need it: {_remedy(path)}"
            )
        return Network(path, backend, options, chunk)

    @property
    def contract(self) -> Contract:
        """The contract of the model's file."""
        return self._backend.contract

    @property
    def engine(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self._backend.info

    def check(self, features: npt.NDArray[Any], where: str) -> Features | FeatureRows:
        """Return features (T, D) as `run` takes them; `where` names them in errors.

        Raises InputError if they do not fit the model. Values of a video that will run in chunks
        are checked as it runs.
        """
        features = np.asanyarray(features)
        if features.ndim == 2 and len(features) > self.longest_whole:
            return self._rows(features, where)
        return check_features(features, where, self.contract.feature_dim)

    def run(
        self, videos: Sequence[Features | FeatureRows], *, size: int | None = None
    ) -> list[Activations]:
        """Run the network on videos that `check` has passed, padded by similar length.

        Videos longer than `longest_whole` run in chunks; their features may still lie on disk.

        Args:
            videos: Features (T, D) float32 of each video.
            size: The largest batch; None: 8 on a GPU, if they make no more than 4096 snippets, 1
                on a CPU, and there, in the fast form of a model optimized for it, as many as make
                512 snippets.

        Raises:
            InputError: Features read from disk cannot be used.
            BackendError: The engine fails, or an output is not finite.
        """
        found: dict[int, Activations] = {}
        short: dict[int, Features] = {}
        for index, video in enumerate(videos):
            graph = self._graph_for_chunks(len(video))
            if graph is not None:
                rows = video if isinstance(video, FeatureRows) else self._rows(video, "features")
                found[index] = Activations(*run_in_chunks(graph, rows, self._chunk_for(graph)))
            else:
                short[index] = (
                    video.read(0, len(video)) if isinstance(video, FeatureRows) else video
                )
        indices = list(short)
        lengths = [len(video) for video in short.values()]
        if self.is_packing and size is None:
            groups = group_to_pack(lengths)
        else:
            groups = group_by_length(
                lengths,
                self.batch_size(size),
                self._backend.max_batch if size else self._max_batch,
                padded_to=bucket if self.engine.on_gpu else int,
            )
        batches = (pad([short[indices[place]] for place in group]) for group in groups)
        for group, outputs in zip(groups, self._backend.infer_each(batches), strict=True):
            for row, place in enumerate(group):
                cas = outputs["cas"][row, : lengths[place]]
                attention = outputs["attention"][row, : lengths[place], 0]
                found[indices[place]] = Activations(cas, attention)
        for activations in found.values():
            _check_finite(activations)
        return [found[index] for index in range(len(videos))]

    @property
    def cpu_form(self) -> CpuForm | None:
        """The form that a file optimized for CPUs runs in; None for other files."""
        if self.contract.optimize != "cpu":
            return None
        return self.options.cpu_form if self.engine.provider == CPU else "plain"

    @property
    def is_packing(self) -> bool:
        """Whether ragged batches lose their padding inside the graph and run faster together."""
        return self.cpu_form == "fast"

    @property
    def layers(self) -> str:
        """In words: where the layers run, in which precision; "" where the engine cannot tell."""
        return self._backend.layers

    @property
    def longest_whole(self) -> int:
        """Snippets up to which a video runs at once; longer ones run in chunks."""
        wanted = self._chunk or DEFAULT_CHUNK
        longest = self._backend.max_length
        return wanted if longest is None else min(wanted, longest)

    @property
    def chunk(self) -> int:
        """Snippets of a chunk; the engine takes it with its neighbors."""
        longest = self._backend.max_length
        if longest is None:
            return self.longest_whole
        return max(1, min(self.longest_whole, longest - 2 * self.contract.receptive_field.halo))

    def batch_size(self, size: int | None = None) -> int:
        """Return the largest batch: `size`, by default 8 on a GPU, 1 on a CPU."""
        return size or (GPU_BATCH if self.engine.on_gpu else CPU_BATCH)

    def _max_batch(self, length: int) -> int | None:
        limit = self._backend.max_batch(length)
        if not self.engine.on_gpu:
            return limit
        room = max(1, GPU_SNIPPETS // length)
        return room if limit is None else min(room, limit)

    def _chunk_for(self, graph: Backend[Contract]) -> int:
        """Return `chunk`, or less where the chunk graph's own engine takes less."""
        longest = graph.max_length
        if longest is None:
            return self.chunk
        return max(1, min(self.chunk, longest - 2 * self.contract.receptive_field.halo))

    def close(self) -> None:
        """Free the engine."""
        self._backend.close()
        if self._chunk_graph is not None:
            self._chunk_graph.close()

    def _rows(self, features: npt.NDArray[Any], where: str) -> FeatureRows:
        return FeatureRows(features, where=where, feature_dim=self.contract.feature_dim)

    def _graph_for_chunks(self, length: int) -> Backend[Contract] | None:
        """Return the chunk graph if a video of this length is too long to run whole, else None."""
        if length <= self.longest_whole:
            return None
        path = chunk_graph_path(self.path)
        with self._opening:
            if self._chunk_graph is None and path.is_file():
                self._chunk_graph = self._open_chunk_graph(path)
        if self._chunk_graph is None and path.suffix == ".engine":
            raise InputError(
                f"{path}: no such file, and a video of {length} snippets, beyond the "
                f"{self.longest_whole} of the engine, needs it: {_remedy(self.path)}"
            )
        if self._chunk_graph is None:
            logger.warning(
                "%s is missing: a video of %d snippets runs at once, and takes memory accordingly "
                "(co2net-export --chunks writes it)",
                path,
                length,
            )
        return self._chunk_graph

    def _open_chunk_graph(self, path: Path) -> Backend[Contract]:
        graph = open_backend(path, self.options)
        try:
            check_siblings(path, graph.contract, self.contract)
            if (graph.info.engine, graph.info.device) != (self.engine.engine, self.engine.device):
                raise BackendError(f"{path}: runs in {graph.info}, the model in {self.engine}")
        except Co2netError:
            graph.close()
            raise
        return graph

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.options, self._chunk)


def _remedy(path: str | os.PathLike[str]) -> str:
    """Return how the chunk graph of a model is made."""
    if Path(path).suffix == ".engine":
        return f"co2net-engine MODEL.chunk.onnx --out {chunk_graph_path(path)}"
    return "write it with co2net-export --chunks"


def _check_finite(activations: Activations) -> None:
    for name, values in (("cas", activations.cas), ("attention", activations.attention)):
        if not is_finite(values):
            raise BackendError(
                f"{name} is not finite in a video of {len(values)} snippets: its features are far "
                "outside the range of the training features, or the model is damaged"
            )


def _reopen(path: str, options: EngineOptions, chunk: int | None) -> Network:
    return Network.open(path, options, chunk=chunk)
