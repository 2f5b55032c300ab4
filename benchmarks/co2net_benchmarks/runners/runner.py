"""The ideas of a measurement: a target, the runner that runs it, and what an open one says."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.decoding.detect import DetectionContract, detect
from co2net_runtime.features import FeatureFile, Features

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""The network's cas (T, C + 1) and attention (T,)."""
Source = Literal["checkpoint", "artefact"]
Status = Literal["measured", "not installed", "failed"]


@dataclass(frozen=True)
class Target:
    """One thing to measure, as it was asked for."""

    name: str  # as tables show it
    kind: str  # a key of `runners.RUNNERS`: what runs the file
    path: Path  # a checkpoint or an artefact, as the runner takes it


@dataclass(frozen=True)
class RunnerInfo:
    """A target in the results; the fields from `engine` on are known once its runner is open."""

    name: str
    kind: str
    file: str  # name of the file, without its folder
    model_bytes: int  # of the weights in a checkpoint (it may hold training state), else the file
    status: Status
    reason: str = ""  # why it was not measured, or not to the end
    engine: str = ""
    precision: str = ""
    checkpoint_sha256: str = ""
    macs_per_snippet: int | None = None  # None if unknown
    feature_dim: int = 0  # channels of a snippet
    snippet_s: float = 0.0  # seconds of video per snippet

    @staticmethod
    def absent(target: Target, status: Status, reason: str) -> "RunnerInfo":
        """Return the record of a target that could not be opened."""
        size = target.path.stat().st_size
        return RunnerInfo(target.name, target.kind, target.path.name, size, status, reason)


class Runner(ABC):
    """Runs one kind of target, in a child process.

    A subclass names what it needs, opens the file in its constructor, which must set the first
    four attributes below, and runs the network. `runners.RUNNERS` is the list of all.
    """

    description: ClassVar[str]  # the engine, for people
    source: ClassVar[Source]  # the file it takes
    packages: ClassVar[tuple[str, ...]]  # that must be installed
    is_prepared: ClassVar[bool] = False  # whether `prepare` makes the file to open
    is_baseline: ClassVar[bool] = False  # whether --baselines adds it

    contract: DetectionContract
    feature_dim: int  # channels of a snippet
    checkpoint_sha256: str
    engine: str  # with its version and device
    precision: str = "fp32"  # that it computes in
    model_bytes: int | None = None  # of the weights, where the file holds more than the model
    macs_per_snippet: int | None = None  # of the plain network, where the runner knows it
    device_s: float | None = None  # of the last network run by the device's own clock, if any

    @classmethod
    @abstractmethod
    def import_engine(cls) -> None:
        """Import the engine; this is what a cold start calls importing."""

    @abstractmethod
    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Open the file; this is what a cold start calls loading."""

    @classmethod
    def prepare(cls, path: Path, folder: Path) -> Path:  # noqa: ARG003  for those that export
        """Return the file to open; work that a user does once may be written to `folder`."""
        return path

    @classmethod
    def needs(cls, path: Path) -> tuple[str, ...]:  # noqa: ARG003  the runtime's depend on it
        """Return the packages that must be installed for this file."""
        return cls.packages

    def take_contract(self, contract: Contract) -> None:
        """Set what an artefact's contract says."""
        self.contract, self.feature_dim = contract, contract.feature_dim
        self.precision, self.checkpoint_sha256 = contract.precision, contract.checkpoint_sha256

    @abstractmethod
    def network(self, features: Features) -> Outputs:
        """Run the network on checked features (T, D); the outputs lie in host memory."""

    def decode(self, outputs: Outputs) -> int:
        """Turn the network's outputs into segments in seconds; return their number."""
        cas, attention = outputs
        return len(detect(cas, attention, self.contract))

    def run(self, path: Path) -> tuple[dict[str, float], int]:
        """Take one video through the pipeline.

        Args:
            path: Its feature file.

        Returns:
            Seconds by stage, and the number of segments. Stages: read (open the file, check every
            value), network (host memory to host memory), decode, total; and device, where the
            device has a clock of its own.
        """
        start = time.perf_counter()
        features = self.read(path)
        read = time.perf_counter()
        outputs = self.network(features)
        network = time.perf_counter()
        segments = self.decode(outputs)
        end = time.perf_counter()
        stages = {
            "read": read - start,
            "network": network - read,
            "decode": end - network,
            "total": end - start,
        }
        if self.device_s is not None:
            stages["device"] = self.device_s
        return stages, segments

    def run_files(self, paths: Sequence[Path]) -> int:
        """Work through feature files as fast as this runner can; return the segments found."""
        return sum(self.run(path)[1] for path in paths)

    def read(self, path: Path) -> Features:
        """Return the checked features of a file, (T, D) float32."""
        return FeatureFile(path.stem, path).read(self.feature_dim)

    def info(self, target: Target, path: Path) -> RunnerInfo:
        """Return the record of this runner; `path`: the file that it opened for the target."""
        # external weights lie beside the file, under its name and .data
        size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        return RunnerInfo(
            name=target.name,
            kind=target.kind,
            file=target.path.name,
            model_bytes=size if self.model_bytes is None else self.model_bytes,
            status="measured",
            engine=self.engine,
            precision=self.precision,
            checkpoint_sha256=self.checkpoint_sha256,
            macs_per_snippet=self.macs_per_snippet,
            feature_dim=self.feature_dim,
            snippet_s=float(self.contract.timing.to_seconds(1)),
        )
