"""ONNX Runtime's execution providers and the options that each of them needs here."""

from collections.abc import Mapping
from dataclasses import dataclass

from co2net_runtime.backends.device import Device
from co2net_runtime.backends.trt.profiles import Profile

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"

# the extra that brings each
EXTRA = {CPU: "cpu", CUDA: "gpu", TENSORRT: "gpu", OPENVINO: "openvino"}


@dataclass(frozen=True)
class Provider:
    """The execution provider that must run the network.

    entries: (name, options) in ONNX Runtime's order of preference, `name` first. bind: keep
    inputs and outputs in the device's memory during a run. profile: the only shapes it takes.
    """

    name: str
    device: Device
    entries: tuple[tuple[str, Mapping[str, str]], ...]
    bind: bool = False
    profile: Profile | None = None


def cpu() -> Provider:
    """ONNX Runtime's own kernels."""
    return Provider(CPU, Device("cpu"), ((CPU, {}),))


def cuda(device: Device, *, tf32: bool = False) -> Provider:
    """CUDA kernels (cuDNN, cuBLAS). tf32: round fp32 multiplications to 10 bits, for speed."""
    return Provider(CUDA, device, ((CUDA, _cuda_options(device, tf32=tf32)),), bind=True)


def tensorrt(
    device: Device, options: Mapping[str, str], profile: Profile, *, tf32: bool = False
) -> Provider:
    """TensorRT inside ONNX Runtime, CUDA for what it leaves.

    options: its trt_* strings, which hold the profile, too.
    """
    entries = (
        (TENSORRT, {"device_id": str(device.index), **options}),
        (CUDA, _cuda_options(device, tf32=tf32)),
    )
    return Provider(TENSORRT, device, entries, bind=True, profile=profile)


def openvino(device: Device, *, threads: int | None = None) -> Provider:
    """OpenVINO, on the CPU or an Intel GPU or NPU."""
    # without ACCURACY a GPU, and a CPU with AMX, silently computes fp32 files in 16 bits
    options = {"device_type": _openvino_device(device), "precision": "ACCURACY"}
    if threads is not None:
        options["num_of_threads"] = str(threads)
    return Provider(OPENVINO, device, ((OPENVINO, options),))


def _cuda_options(device: Device, *, tf32: bool) -> dict[str, str]:
    return {
        "device_id": str(device.index),
        # the default tries every algorithm again for each new T
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "1" if tf32 else "0",
        # the default doubles its arena: on a Jetson that is the memory of everybody
        "arena_extend_strategy": "kSameAsRequested",
    }


def _openvino_device(device: Device) -> str:
    if device.kind == "gpu":
        return f"GPU.{device.index}" if device.index else "GPU"
    return device.kind.upper()
