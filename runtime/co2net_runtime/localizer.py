"""Features -> Detections: the public door to one model."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineInfo, EngineOptions
from co2net_runtime.decoding.detect import detect
from co2net_runtime.detections import Detections
from co2net_runtime.errors import Co2netError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import FeatureFile
from co2net_runtime.network.network import Activations, Network
from co2net_runtime.network.pipeline import run_files


class Localizer:
    """Localizes actions in untrimmed videos.

    It holds no state between calls: the same call gives the same bits, whatever came before. It
    may be called from several threads, and pickles: the copy opens the model again.

    Example:
        with Localizer.load("model.onnx") as localizer:
            detections = localizer(features)  # (T, D) -> segments in seconds, scores, labels
    """

    def __init__(self, network: Network) -> None:
        """Use `Localizer.load`."""
        self.network = network

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        options: EngineOptions = EngineOptions(),
        *,
        chunk: int | None = None,
    ) -> "Localizer":
        """Open a model. What is asked for runs, or it is an error: nothing falls back.

        Args:
            path: An ONNX file of co2net-export, an engine of co2net-engine (.engine), or a model
                on the Hugging Face Hub: hf://ORG/NAME, see `local_model`.
            options: How to run it: engine, device, threads and the rest. The default for a file
                exported with --optimize cpu is its fast form, which takes 0.3 s to open;
                `EngineOptions(cpu_form="plain")` opens at once and is the better choice for fewer
                than about 2000 snippets.
            chunk: Longer videos run in chunks of this many snippets, through MODEL.chunk.onnx
                beside the model, with the same result. None: 4096, and where that file is
                missing, a warning and the whole video at once.

        Raises:
            InputError: The file is missing or damaged, or the Hub does not give it.
            ContractError: The file is not one of co2net-export.
            MissingDependencyError: The engine, or huggingface_hub, is not installed.
            BackendError: The engine refuses the model or does not run where it should.

        Example:
            Localizer.load("model.onnx", EngineOptions(device="cpu", threads=2))
            Localizer.load("hf://org/name")
        """
        return Localizer(Network.open(path, options, chunk=chunk))

    @property
    def contract(self) -> Contract:
        """The contract of the model's file."""
        return self.network.contract

    @property
    def engine(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self.network.engine

    def __call__(self, features: npt.NDArray[Any]) -> Detections:
        """Localize the actions of one video.

        Args:
            features: (T, D) floating-point, T >= 1.

        Returns:
            The segments, in seconds, class by class, each class's best score first.

        Raises:
            InputError: The features do not fit the model.
            BackendError: The engine fails.
        """
        (activations,) = self.network.run([self.network.check(features, "features")])
        return self.detect(activations)

    def batch(
        self, videos: Sequence[npt.NDArray[Any]], *, size: int | None = None
    ) -> list[Detections]:
        """Localize the actions of several videos.

        A video's segments do not depend on the others in its batch; its scores can, in the last
        bits.

        Args:
            videos: Features (T, D) of each video, floating-point, of any lengths.
            size: The largest batch; None as in `Network.run`.

        Returns:
            One `Detections` per video, in the same order.

        Raises:
            InputError: The features do not fit the model.
            BackendError: The engine fails.
        """
        checked = [self.network.check(video, f"video {i}") for i, video in enumerate(videos)]
        return [self.detect(found) for found in self.network.run(checked, size=size)]

    def stream_files(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        flow: str | os.PathLike[str] | None = None,
        size: int | None = None,
        on_error: Callable[[FeatureFile, Co2netError], None] | None = None,
    ) -> Iterator[tuple[str, Detections]]:
        """Localize the videos of files, folders or glob patterns.

        Memory does not grow with the number of videos; the next features are read while the
        network runs.

        Args:
            paths: As `find_feature_files` takes them.
            flow: Likewise.
            size: The largest batch; None as in `Network.run`.
            on_error: Called with a file that cannot be used and its error; the others go on. None
                raises the error.

        Yields:
            The name of each video and its detections.

        Raises:
            InputError: The arguments name no file, or a file cannot be used.
            BackendError: The engine fails.
        """
        for outcome in run_files(self.network, find_feature_files(paths, flow), size=size):
            if outcome.activations is not None:
                yield outcome.file.video, self.detect(outcome.activations)
                continue
            assert outcome.error is not None
            if on_error is None:
                raise outcome.error
            on_error(outcome.file, outcome.error)

    def detect(self, activations: Activations) -> Detections:
        """Turn activations into segments in seconds, by the contract's options and timing."""
        return detect(activations.cas, activations.attention, self.contract)

    def close(self) -> None:
        """Free the engine."""
        self.network.close()

    def __enter__(self) -> "Localizer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
