"""One backbone opened in an engine: clips of levels -> feature rows."""

import os

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.backbone import (
    CLIPS_INPUT,
    FEATURES_OUTPUT,
    LOGITS_OUTPUT,
    BackboneContract,
    Stream,
    read_backbone_contract,
)
from co2net_runtime.backends import Backend, EngineInfo, EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.features import Features
from co2net_runtime.video.decode import Image

# clips that run at once on a GPU; on a CPU one clip fills the cores
GPU_BATCH = 8


class Backbone:
    """A backbone of one stream, opened.

    Example:
        with Backbone.open("rgb.onnx", "rgb") as backbone:
            rows = backbone.features(levels)  # (B, 16, 224, 224, 3) uint8 -> (B, 1024)
    """

    def __init__(self, backend: Backend[BackboneContract], where: str) -> None:
        """Use `Backbone.open`."""
        self._backend = backend
        self._where = where
        contract = backend.contract
        shape = (-1, 1, 1, 1)
        self._mean = np.array(contract.scaling.mean, np.float32).reshape(shape)
        self._factor = 1 / np.array(contract.scaling.std, np.float32).reshape(shape)

    @staticmethod
    def open(
        path: str | os.PathLike[str], stream: Stream, options: EngineOptions = EngineOptions()
    ) -> "Backbone":
        """Open a backbone's ONNX file.

        Args:
            path: The file, of co2net-backbone.
            stream: What it must take: "rgb" or "flow".
            options: How to run it.

        Raises:
            InputError: The file is missing or damaged, or takes the other stream.
            ContractError: It is no backbone.
            MissingDependencyError: The engine is not installed.
            BackendError: The engine refuses it.
        """
        found = read_backbone_contract(path).stream
        if found != stream:
            raise InputError(
                f"{path}: a backbone of the {found} stream, expected one of the {stream} stream"
            )
        return Backbone(open_backend(path, options, read=read_backbone_contract), str(path))

    @property
    def contract(self) -> BackboneContract:
        """The contract of the file."""
        return self._backend.contract

    @property
    def engine(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self._backend.info

    @property
    def batch(self) -> int:
        """Clips that are best run at once."""
        if not self.engine.on_gpu:
            return 1
        return min(GPU_BATCH, self._backend.max_batch(1) or GPU_BATCH)

    def features(self, levels: Image) -> Features:
        """Return the feature rows (B, width) float32 of clips.

        Args:
            levels: Clips (B, snippet_frames, crop, crop, channels) uint8.

        Raises:
            BackendError: The engine fails, or returns another width than the contract says.
        """
        return self._infer(levels, FEATURES_OUTPUT, self.contract.width)

    def scores(self, levels: Image) -> npt.NDArray[np.float32]:
        """Return the class scores (B, classes) float32 of clips, before softmax.

        Raises:
            InputError: The backbone has none.
            BackendError: The engine fails.
        """
        if not self.contract.classes:
            raise InputError(
                f"{self._where}: puts out no class scores: write it with co2net-backbone --logits"
            )
        return self._infer(levels, LOGITS_OUTPUT, self.contract.classes)

    def close(self) -> None:
        """Free the engine."""
        self._backend.close()

    def _infer(self, levels: Image, output: str, width: int) -> npt.NDArray[np.float32]:
        rows = self._backend.infer({CLIPS_INPUT: self._scaled(levels)})[output]
        if rows.shape != (len(levels), width):
            raise BackendError(
                f"{self._where}: returned {output} of shape {rows.shape}, its contract says "
                f"{(len(levels), width)}"
            )
        return rows.astype(np.float32, copy=False)

    def _scaled(self, levels: Image) -> npt.NDArray[np.float32]:
        clips = np.ascontiguousarray(levels.transpose(0, 4, 1, 2, 3)).astype(np.float32)
        clips -= self._mean
        clips *= self._factor
        return clips

    def __enter__(self) -> "Backbone":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
