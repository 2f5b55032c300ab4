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
    buckets: bool = False  # pad each batch to one of few lengths


def cpu() -> Provider:
    """ONNX Runtime's own kernels."""
    return Provider(CPU, Device("cpu"), ((CPU, {}),))


def cuda(device: Device, options: EngineOptions, precision: str) -> Provider:
    """CUDA kernels (cuDNN, cuBLAS) for a file of this precision."""
    entries = ((CUDA, _cuda_options(device, options, precision)),)
    return Provider(CUDA, device, entries, bind=True, buckets=True)


def tensorrt(
    device: Device, options: EngineOptions, strings: Mapping[str, str], precision: str
) -> Provider:
    """TensorRT inside ONNX Runtime, CUDA for the nodes it leaves; `strings` are trt_* options."""
    entries = (
        (TENSORRT, {"device_id": str(device.index), **strings}),
        (CUDA, _cuda_options(device, options, precision)),
    )
    profile = covering(options.tensorrt.to_build)
    return Provider(TENSORRT, device, entries, bind=True, profile=profile)


def _cuda_options(device: Device, options: EngineOptions, precision: str) -> dict[str, str]:
    return {
        "device_id": str(device.index),
        # the default tries every algorithm again for each new T
        "cudnn_conv_algo_search": "HEURISTIC",
        # with "0" cuDNN 9 gets no tensor cores at all, fp16's neither: right for fp32 files only
        "use_tf32": "1" if options.tf32 or precision != "fp32" else "0",
        # a Conv1d as PyTorch hands it to cuDNN; by default its H, not its W, would be 1
        "cudnn_conv1d_pad_to_nc1d": "1",
        # one kernel adds the bias, too
        "fuse_conv_bias": "1",
        # the layout of tensor cores, which otherwise transpose before and after each convolution
        "prefer_nhwc": "1" if precision == "fp16" else "0",
        # the default doubles its arena: on a Jetson that is the memory of everybody
        "arena_extend_strategy": "kSameAsRequested",
    }
