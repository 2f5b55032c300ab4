"""Inference engines behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:  # command lines show the choice of engines without it
    import numpy.typing as npt

Arrays = Mapping[str, "npt.NDArray[Any]"]

# what engines and drivers write when memory is short, in lower case
OUT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc", "failed to allocate", "bfcarena")


@dataclass(frozen=True)
class EngineInfo:
    """What runs a model, for results and reports.

    engine: "onnxruntime" or "tensorrt". version: the engine's. provider: ONNX Runtime's
    execution provider, or "TensorRT". device: "cpu", "cuda:0". precision: what the network is
    computed in. device_name: of a GPU.
    """

    engine: str
    version: str
    provider: str
    device: str
    precision: str
    device_name: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes, so that batches pay."""
        return self.device != "cpu"

    def __str__(self) -> str:
        on = f"{self.device} ({self.device_name})" if self.device_name else self.device
        return f"{self.engine} {self.version}, {self.provider}, {self.precision} on {on}"


class Backend(Protocol):
    """One model opened in one engine; `infer` may be called from several threads."""

    @property
    def contract(self) -> Contract:
        """What the model says of itself."""

    @property
    def info(self) -> EngineInfo:
        """What runs it."""

    @property
    def max_length(self) -> int | None:
        """The longest video that the engine takes; None where there is no limit."""

    def max_batch(self, length: int) -> int | None:
        """Return the largest batch of videos of T = `length`; None where there is no limit.

        Raises BackendError if the engine takes no video of that length.
        """

    def infer(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph: input arrays by name -> output arrays by name.

        Raises BackendError if the engine refuses or fails, or the backend is closed.
        """

    def close(self) -> None:
        """Free the engine; a closed backend cannot be used again."""

    def __enter__(self) -> Backend:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""


def run_failed(engine: str, message: str, feeds: Arrays) -> BackendError:
    """Return the error for an inference that failed, with advice where memory ran out."""
    batch, length = feeds["features"].shape[:2]
    text = " ".join(message.split())
    if any(sign in text.lower() for sign in OUT_OF_MEMORY):
        return BackendError(
            f"{engine}: out of memory with {batch} videos of T = {length} at once: use a smaller "
            "--batch or --chunk, or an engine built for shorter videos (co2net-engine --profile) "
            f"[{text[:200]}]"
        )
    return BackendError(f"{engine}: {text}")
