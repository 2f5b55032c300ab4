"""Inference engines behind one protocol, `Backend`.

options    EngineOptions: every option that an engine takes
selection  open_backend: which engine on which device
device     processors, and the GPUs that the NVIDIA driver reports
ort        ONNX Runtime
ov         OpenVINO without ONNX Runtime
trt        TensorRT without ONNX Runtime
buckets    lengths that videos are padded to on GPUs
tf32       whether NVIDIA's libraries may round fp32 products, process-wide
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from co2net_runtime.backends.device import LOST, STICKY
from co2net_runtime.backends.options import EngineOptions
from co2net_runtime.errors import BackendError, DeviceLostError
from co2net_runtime.files.text import number_of

if TYPE_CHECKING:  # command lines show the choice of engines without it
    import numpy.typing as npt

__all__ = [
    "AnyContract",
    "Arrays",
    "Backend",
    "EngineInfo",
    "EngineOptions",
    "GraphContract",
    "run_failed",
]

Arrays = Mapping[str, "npt.NDArray[Any]"]

# as ONNX Runtime writes it
CUDA_FAILURE = re.compile(r"CUDA failure (\d+)")
# what engines and drivers write when memory is short, in lower case
OUT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc", "failed to allocate", "bfcarena")


class GraphContract(Protocol):
    """As much of a model file's contract as an engine reads: a head's and a backbone's have it."""

    @property
    def precision(self) -> str:
        """The precision that the graph computes in."""

    @property
    def optimize(self) -> str:
        """The processor that the graph was rewritten for, or "none"."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""


AnyContract = TypeVar("AnyContract", bound=GraphContract)
AnyContract_co = TypeVar("AnyContract_co", bound=GraphContract, covariant=True)


@dataclass(frozen=True)
class EngineInfo:
    """The engine that runs a model, for results and reports."""

    engine: str  # "onnxruntime", "openvino" or "tensorrt"
    version: str  # of the engine
    provider: str  # ONNX Runtime's execution provider, "OpenVINO" or "TensorRT"
    device: str  # "cpu", "gpu" (Intel's), "cuda:0"
    precision: str  # that the network is computed in
    device_name: str = ""  # of a GPU

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes, so that batches pay off."""
        return self.device != "cpu"

    def __str__(self) -> str:
        on = f"{self.device} ({self.device_name})" if self.device_name else self.device
        return f"{self.engine} {self.version}, {self.provider}, {self.precision} on {on}"


class Backend(Protocol[AnyContract_co]):
    """One model opened in one engine; `infer` may be called from several threads."""

    @property
    def contract(self) -> AnyContract_co:
        """The contract of the model's file."""

    @property
    def info(self) -> EngineInfo:
        """The engine, its device and precision."""

    @property
    def max_length(self) -> int | None:
        """The longest video that the engine takes; None where there is no limit."""

    @property
    def layers(self) -> str:
        """In words for reports: where its layers run, in which precision; "" if it cannot tell."""

    def max_batch(self, length: int) -> int | None:
        """Return the largest batch of videos of T = `length`; None where there is no limit.

        Raises BackendError if the engine takes no video of that length.
        """

    def infer(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph: input arrays by name -> output arrays by name.

        Raises BackendError if the engine refuses or fails, or the backend is closed.
        """

    def infer_each(self, batches: Iterable[Arrays]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield what `infer` returns for each batch; a GPU gets the next one while it computes.

        To be taken to its end before the next call. Raises what `infer` and `batches` raise.
        """

    def close(self) -> None:
        """Free the engine; a closed backend cannot be used again."""

    def __enter__(self) -> Backend[AnyContract_co]:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """Close."""


def run_failed(engine: str, message: str, feeds: Arrays) -> BackendError:
    """Return the error for an inference that failed, with advice where memory ran out.

    It is a DeviceLostError where CUDA will do nothing more for this process.
    """
    text = " ".join(message.split())
    if (code := CUDA_FAILURE.search(text)) and int(code.group(1)) in STICKY:
        return DeviceLostError(f"{engine}: {text}: {LOST}")
    if not any(sign in text.lower() for sign in OUT_OF_MEMORY):
        return BackendError(f"{engine}: {text}")
    if "features" in feeds:
        batch, length = feeds["features"].shape[:2]
        return BackendError(
            f"{engine}: out of memory with {number_of(batch, 'video')} of T = {length} at once: "
            "use a smaller "
            "--batch or --chunk, or an engine built for shorter videos (co2net-engine --profile) "
            f"[{text[:200]}]"
        )
    inputs = ", ".join(f"{name} {'x'.join(map(str, one.shape))}" for name, one in feeds.items())
    return BackendError(
        f"{engine}: out of memory with {inputs} at once: use a smaller batch [{text[:200]}]"
    )
