"""Features -> Detections: one model, its engine and the post-processing."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Backend, EngineInfo
from co2net_runtime.backends.selection import BackendName, open_backend
from co2net_runtime.backends.trt.profiles import TensorRtOptions
from co2net_runtime.decoding.proposals import decode
from co2net_runtime.detections import Detections
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import FeatureFile, Features, check_features
from co2net_runtime.network.batching import group_by_length, pad
from co2net_runtime.network.chunks import (
    DEFAULT_CHUNK,
    FeatureRows,
    check_siblings,
    run_in_chunks,
    sibling,
)
from co2net_runtime.network.packing import group_to_pack

logger = logging.getLogger(__name__)

# a GPU gains from batches; on a CPU padded batches were slower than one video after another
GPU_BATCH, CPU_BATCH = 8, 1


@dataclass(frozen=True)
class Activations:
    """What the network says of one video.

    cas (T, C + 1) float32: logits, background last. attention (T,) float32 in (0, 1).
    """

    cas: npt.NDArray[np.float32]
    attention: npt.NDArray[np.float32]


class Localizer:
    """Localizes actions in videos.

    It holds no state between calls, may be called from several threads, and pickles: the copy
    opens the model again.
    """

    def __init__(
        self, path: str | os.PathLike[str], opened: Backend, options: Mapping[str, Any]
    ) -> None:
        """Use `Localizer.load`."""
        self.path = os.fspath(path)
        self._backend = opened
        self._options = dict(options)
        self._chunk_graph: Backend | None = None
        self._opening = threading.Lock()

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        *,
        backend: BackendName = "auto",
        device: str = "auto",
        threads: int | None = None,
        spinning: bool = False,
        memory_arena: bool = True,
        tf32: bool = False,
        tensorrt: TensorRtOptions = TensorRtOptions(),
        chunk: int | None = None,
    ) -> "Localizer":
        """Open an ONNX file of co2net-export, or an engine of co2net-engine (.engine).

        What is asked for runs, or it is an error: nothing falls back to another device.

        backend: "onnxruntime", "onnxruntime-tensorrt" and "onnxruntime-openvino" (its execution
        providers), "tensorrt" (without ONNX Runtime; builds an engine at first, once per GPU), or
        "auto": ONNX Runtime, or TensorRT where only that is installed.
        device: "cpu", "cuda:0", for OpenVINO also "gpu" and "npu", or "auto": the first GPU where
        the chosen engine is made for GPUs and the driver has one, else the CPU.
        threads: for one operator on the CPU; None takes all cores. spinning: threads wait for
        work in a loop: a little faster, and whole cores are busy between videos. memory_arena:
        keep freed memory for the next video. tf32: let a GPU round fp32 multiplications to 10
        bits, for speed. tensorrt: how engines are built and run.
        chunk: longer videos run in chunks of so many snippets, through MODEL.stream.onnx beside
        the model, with the same result. None: 4096, and where that file is missing, a warning and
        the whole video at once.

        Raises InputError if the file is missing or damaged, ContractError if it is not ours,
        MissingDependencyError without the engine, BackendError if the engine refuses the model or
        does not run where it should.
        """
        options: dict[str, Any] = {
            "backend": backend,
            "device": device,
            "threads": threads,
            "spinning": spinning,
            "memory_arena": memory_arena,
            "tf32": tf32,
            "tensorrt": tensorrt,
        }
        if chunk is not None and chunk < 1:
            raise InputError(f"chunk {chunk}: expected at least 1 snippet")
        opened = open_backend(path, **options)
        if opened.contract.graph != "whole":
            opened.close()
            use = "live streams" if opened.contract.graph == "live" else "chunks of a video"
            raise InputError(f"{path}: the graph for {use}: give the one beside it")
        localizer = Localizer(path, opened, {**options, "chunk": chunk})
        if chunk is not None and not sibling(path, "stream").is_file():
            localizer.close()
            raise InputError(
                f"{sibling(path, 'stream')}: no such file, and chunks need it: write it with "
                "co2net-export --streaming"
            )
        return localizer

    @property
    def contract(self) -> Contract:
        """What the model says of itself."""
        return self._backend.contract

    @property
    def engine(self) -> EngineInfo:
        """What runs the model."""
        return self._backend.info

    def __call__(self, features: npt.NDArray[Any]) -> Detections:
        """Localize the actions of one video: features (T, D) floating-point, T >= 1.

        Raises InputError if the features do not fit the model, BackendError if the engine fails.
        """
        return self.decode(self.activations(self._check(features, "features")))

    def batch(
        self, videos: Sequence[npt.NDArray[Any]], *, size: int | None = None
    ) -> list[Detections]:
        """Localize the actions of several videos, each (T, D), of any lengths.

        The result of a video does not depend on those it shares a batch with. size: the largest
        batch; None for 8 on a GPU, 1 on a CPU, and there, if the model is optimised for it, as
        many as make 512 snippets.

        Raises InputError if the features do not fit the model, BackendError if the engine fails.
        """
        checked = [self._check(video, f"video {i}") for i, video in enumerate(videos)]
        return [self.decode(found) for found in self.activations_of(checked, size=size)]

    def activations(self, features: Features | FeatureRows) -> Activations:
        """Run the network on features (T, D) float32 that `check_features` has passed."""
        return self.activations_of([features])[0]

    def activations_of(
        self, videos: Sequence[Features | FeatureRows], *, size: int | None = None
    ) -> list[Activations]:
        """Run the network on videos that `check_features` has passed, padded by similar length.

        Videos longer than `chunk` run in chunks; their features may still lie on disk.
        """
        found: dict[int, Activations] = {}
        short: dict[int, Features] = {}
        for index, video in enumerate(videos):
            graph = self._chunks(len(video))
            if graph is not None:
                rows = video if isinstance(video, FeatureRows) else self._rows(video, "features")
                found[index] = Activations(*run_in_chunks(graph, rows, self.chunk))
            else:
                short[index] = (
                    video.read(0, len(video)) if isinstance(video, FeatureRows) else video
                )
        indices = list(short)
        lengths = [len(video) for video in short.values()]
        if self.packs and size is None:
            groups = group_to_pack(lengths)
        else:
            groups = group_by_length(lengths, self.batch_size(size), self._backend.max_batch)
        for group in groups:
            outputs = self._backend.infer(pad([short[indices[place]] for place in group]))
            for row, place in enumerate(group):
                cas = outputs["cas"][row, : lengths[place]]
                attention = outputs["attention"][row, : lengths[place], 0]
                found[indices[place]] = Activations(cas, attention)
        return [found[index] for index in range(len(videos))]

    @property
    def packs(self) -> bool:
        """Whether ragged batches lose their padding inside the graph and run faster together."""
        return self.contract.optimize == "cpu" and self.engine.device == "cpu"

    @property
    def longest_whole(self) -> int:
        """Snippets up to which a video runs at once; longer ones run in chunks."""
        wanted: int = self._options.get("chunk") or DEFAULT_CHUNK
        longest = self._backend.max_length
        return wanted if longest is None else min(wanted, longest)

    @property
    def chunk(self) -> int:
        """Snippets of a chunk; the engine takes it with its neighbours."""
        longest = self._backend.max_length
        if longest is None:
            return self.longest_whole
        return max(1, min(self.longest_whole, longest - 2 * self.contract.receptive_field.halo))

    def batch_size(self, size: int | None = None) -> int:
        """Return the largest batch: `size`, by default 8 on a GPU, 1 on a CPU."""
        return size or (GPU_BATCH if self.engine.on_gpu else CPU_BATCH)

    def stream_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        flow: str | os.PathLike[str] | None = None,
        size: int | None = None,
        on_error: Callable[[FeatureFile, Co2netError], None] | None = None,
    ) -> Iterator[tuple[str, Detections]]:
        """Localize the videos of files, folders or glob patterns; yield (video, detections).

        Memory does not grow with the number of videos; the next features are read while the
        network runs. flow, size: as in `find_feature_files` and `batch`. on_error: takes a file
        that cannot be used, and the others go on; without it the error is raised.

        Raises InputError if the arguments name no file, or for a bad file, BackendError if the
        engine fails.
        """
        from co2net_runtime.network.pipeline import localize_files

        for outcome in localize_files(self, find_feature_files(paths, flow), size=size):
            if outcome.error is None:
                assert outcome.detections is not None
                yield outcome.file.video, outcome.detections
            elif on_error is None:
                raise outcome.error
            else:
                on_error(outcome.file, outcome.error)

    def decode(self, activations: Activations) -> Detections:
        """Turn activations into segments in seconds, by the contract's options and timing."""
        contract = self.contract
        found = decode(activations.cas, activations.attention, contract.decode)
        segments = contract.timing.to_seconds(np.stack([found.start, found.end], axis=1))
        return Detections(segments, found.score, found.label, contract.classes)

    def close(self) -> None:
        """Free the engine."""
        self._backend.close()
        if self._chunk_graph is not None:
            self._chunk_graph.close()

    def _check(self, features: npt.NDArray[Any], where: str) -> Features | FeatureRows:
        features = np.asanyarray(features)
        if features.ndim == 2 and len(features) > self.longest_whole:
            return self._rows(features, where)
        return check_features(features, where, self.contract.feature_dim)

    def _rows(self, features: npt.NDArray[Any], where: str) -> FeatureRows:
        return FeatureRows(features, where=where, feature_dim=self.contract.feature_dim)

    def _chunks(self, length: int) -> Backend | None:
        """Return the chunk graph for a video of so many snippets, None where it is not for it."""
        if length <= self.longest_whole:
            return None
        path = sibling(self.path, "stream")
        with self._opening:
            if self._chunk_graph is None and path.is_file():
                options = {k: v for k, v in self._options.items() if k != "chunk"}
                graph = open_backend(path, **options)
                try:
                    check_siblings(path, graph.contract, self.contract)
                except InputError:
                    graph.close()
                    raise
                self._chunk_graph = graph
        if self._chunk_graph is None:
            logger.warning(
                "%s is missing: a video of %d snippets runs at once, and takes memory accordingly "
                "(co2net-export --streaming writes it)",
                path,
                length,
            )
        return self._chunk_graph

    def __enter__(self) -> "Localizer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self._options)


def _reopen(path: str, options: dict[str, Any]) -> Localizer:
    return Localizer.load(path, **options)
