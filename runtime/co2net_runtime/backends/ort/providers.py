"""ONNX Runtime's execution providers and the options that each of them needs here."""

from collections.abc import Mapping
from dataclasses import dataclass

from co2net_runtime.backends.device import Device
from co2net_runtime.backends.options import EngineOptions
from co2net_runtime.backends.trt.profiles import Profile, covering

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

# the extra that brings each
EXTRA = {CPU: "cpu", CUDA: "gpu", TENSORRT: "gpu"}


@dataclass(frozen=True)
class Provider:
    """The execution provider that must run the network."""

    name: str  # ONNX Runtime's
    device: Device  # that it runs on
    # (name, options) in ONNX Runtime's order of preference, `name` first
    entries: tuple[tuple[str, Mapping[str, str]], ...]
    bind: bool = False  # keep inputs and outputs in the device's memory during a run
    profile: Profile | None = None  # the only shapes it takes


def cpu() -> Provider:
    """ONNX Runtime's own kernels."""
    return Provider(CPU, Device("cpu"), ((CPU, {}),))


def cuda(device: Device, options: EngineOptions = EngineOptions()) -> Provider:
    """CUDA kernels (cuDNN, cuBLAS)."""
    return Provider(CUDA, device, ((CUDA, _cuda_options(device, options)),), bind=True)


def tensorrt(device: Device, options: EngineOptions, strings: Mapping[str, str]) -> Provider:
    """TensorRT inside ONNX Runtime, CUDA for the nodes it leaves; `strings` are trt_* options."""
    entries = (
        (TENSORRT, {"device_id": str(device.index), **strings}),
        (CUDA, _cuda_options(device, options)),
    )
    profile = covering(options.tensorrt.to_build)
    return Provider(TENSORRT, device, entries, bind=True, profile=profile)


def _cuda_options(device: Device, options: EngineOptions) -> dict[str, str]:
    return {
        "device_id": str(device.index),
        # the default tries every algorithm again for each new T
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "1" if options.tf32 else "0",
        # the default doubles its arena: on a Jetson that is the memory of everybody
        "arena_extend_strategy": "kSameAsRequested",
    }
