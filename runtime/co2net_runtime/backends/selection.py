"""Which engine on which processor; what was asked for runs, or it is an error."""

import os
from pathlib import Path
from typing import Literal

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import Backend
from co2net_runtime.backends.device import Device, gpus
from co2net_runtime.backends.ort import providers as ort_providers
from co2net_runtime.backends.trt.profiles import TensorRtOptions, covering
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError

BackendName = Literal[
    "auto", "onnxruntime", "onnxruntime-tensorrt", "onnxruntime-openvino", "tensorrt"
]
BACKENDS: tuple[BackendName, ...] = (
    "auto",
    "onnxruntime",
    "onnxruntime-tensorrt",
    "onnxruntime-openvino",
    "tensorrt",
)
ENGINE_SUFFIX = ".engine"

# the first is what "auto" takes, except that onnxruntime takes a GPU where it can use one
DEVICES = {
    "onnxruntime": ("cpu", "cuda"),
    "onnxruntime-tensorrt": ("cuda",),
    "onnxruntime-openvino": ("cpu", "gpu", "npu"),
    "tensorrt": ("cuda",),
}


def open_backend(
    path: str | os.PathLike[str],
    *,
    backend: BackendName = "auto",
    device: str = "auto",
    threads: int | None = None,
    spinning: bool = False,
    memory_arena: bool = True,
    tf32: bool = False,
    tensorrt: TensorRtOptions = TensorRtOptions(),
) -> Backend:
    """Open a model; `Localizer.load` says what the arguments mean."""
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    is_engine = Path(path).suffix == ENGINE_SUFFIX
    if is_engine and backend not in ("auto", "tensorrt"):
        raise InputError(f"{path}: a TensorRT engine does not run in the backend {backend}")
    name = backend if backend != "auto" else "tensorrt" if is_engine else _installed()
    where = choose_device(name, device)
    if not is_engine:
        require_precision(read_contract(path), path, name)
    if name == "tensorrt":
        from co2net_runtime.backends.trt.backend import open_tensorrt

        return open_tensorrt(path, where, tensorrt, tf32=tf32)
    from co2net_runtime.backends.ort.backend import OnnxRuntimeBackend

    provider = _provider(name, path, where, threads=threads, tf32=tf32, tensorrt=tensorrt)
    return OnnxRuntimeBackend(
        path, provider, threads=threads, spinning=spinning, memory_arena=memory_arena
    )


def _installed() -> BackendName:
    """Return the engine that is there: ONNX Runtime, which needs no building, before TensorRT."""
    from co2net_runtime.backends.ort.backend import load_onnxruntime
    from co2net_runtime.backends.trt.api import load_tensorrt

    try:
        load_onnxruntime()
    except MissingDependencyError as missing:
        try:
            load_tensorrt()
        except MissingDependencyError:
            raise missing from None
        return "tensorrt"
    return "onnxruntime"


def choose_device(name: BackendName, text: str) -> Device:
    """Return the device that `text` asks for, or that "auto" is for the backend.

    Raises InputError if the backend does not run there, BackendError if there is no such GPU.
    """
    kinds = DEVICES[name]
    if text == "auto":
        prefers_gpu = name == "onnxruntime" and _onnxruntime_has_cuda() and gpus()
        device = Device.parse("cuda" if prefers_gpu else kinds[0])
    else:
        device = Device.parse(text)
    if device.kind not in kinds:
        raise InputError(f"the backend {name} runs on {' or '.join(kinds)}, not on {device}")
    if device.kind == "cuda" and device.index >= len(gpus()):
        raise BackendError(
            f"{device} was asked for, but the NVIDIA driver knows {len(gpus())} GPUs "
            "(co2net-doctor tells more)"
        )
    return device


def _onnxruntime_has_cuda() -> bool:
    from co2net_runtime.backends.ort.backend import load_onnxruntime

    return ort_providers.CUDA in load_onnxruntime().get_available_providers()


def require_precision(contract: Contract, path: str | os.PathLike[str], name: BackendName) -> None:
    """Raise BackendError if the backend cannot run the file's precision."""
    if contract.precision == "int8-cpu" and name in ("tensorrt", "onnxruntime-tensorrt"):
        raise BackendError(
            f"{path}: its int8 is made for CPUs (asymmetric), TensorRT takes symmetric int8 only: "
            "export with --precision int8-trt"
        )
    if contract.precision == "int8-trt" and name == "onnxruntime-openvino":
        raise BackendError(
            f"{path}: its int8 is made for TensorRT; OpenVINO 1.24 was seen to compute it wrongly "
            "in small batches: export with --precision int8-cpu"
        )


def _provider(
    name: BackendName,
    path: str | os.PathLike[str],
    device: Device,
    *,
    threads: int | None,
    tf32: bool,
    tensorrt: TensorRtOptions,
) -> ort_providers.Provider:
    if name == "onnxruntime-openvino":
        return ort_providers.openvino(device, threads=threads)
    if name == "onnxruntime-tensorrt":
        from co2net_runtime.backends.ort.trt_provider import provider_options

        strings = provider_options(path, device, tensorrt)
        return ort_providers.tensorrt(device, strings, covering(tensorrt.to_build), tf32=tf32)
    if device.kind == "cuda":
        return ort_providers.cuda(device, tf32=tf32)
    return ort_providers.cpu()
