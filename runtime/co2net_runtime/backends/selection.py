"""Which engine on which processor; what was asked for runs, or it is an error."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import AnyContract, Backend, GraphContract
from co2net_runtime.backends.device import Device, DeviceKind, gpus, is_arm
from co2net_runtime.backends.options import BACKENDS, BackendName, EngineOptions
from co2net_runtime.backends.ort import providers as ort_providers
from co2net_runtime.errors import BackendError, ContractError, InputError, MissingDependencyError

ENGINE_SUFFIX = ".engine"

# snippets up to which OpenVINO runs int8 files faster than ONNX Runtime
SHORT = 100

# the first is what "auto" takes, except that onnxruntime takes a GPU where it can use one
DEVICES = {
    "onnxruntime": ("cpu", "cuda"),
    "onnxruntime-tensorrt": ("cuda",),
    "openvino": ("cpu", "gpu"),
    "tensorrt": ("cuda",),
}


@overload
def open_backend(
    path: str | os.PathLike[str], options: EngineOptions = ...
) -> Backend[Contract]: ...


@overload
def open_backend(
    path: str | os.PathLike[str],
    options: EngineOptions = ...,
    *,
    read: Callable[[str | os.PathLike[str]], AnyContract],
) -> Backend[AnyContract]: ...


def open_backend(
    path: str | os.PathLike[str],
    options: EngineOptions = EngineOptions(),
    *,
    read: Callable[[str | os.PathLike[str]], Any] = read_contract,
) -> Backend[Any]:
    """Open a model file in the engine that the options ask for.

    Args:
        path: An ONNX file, or an engine of co2net-engine (.engine).
        options: How to run it.
        read: Reads the file's contract; the default is that of localization models. TensorRT's
            profiles need that one.

    Returns:
        The opened model; its `contract` is what `read` returned.

    Raises:
        InputError: The file is missing or damaged, or an option is unknown.
        ContractError: The file has no contract, or one of another kind.
        MissingDependencyError: The engine is not installed.
        BackendError: The engine refuses the model, or does not run on the device asked for.
    """
    if options.backend not in BACKENDS:
        raise InputError(f"backend {options.backend!r}: expected one of {', '.join(BACKENDS)}")
    is_engine = Path(path).suffix == ENGINE_SUFFIX
    if is_engine and options.backend not in ("auto", "tensorrt"):
        raise InputError(f"{path}: a TensorRT engine does not run in the backend {options.backend}")
    if is_engine:
        from co2net_runtime.backends.trt.backend import open_tensorrt

        opened = open_tensorrt(path, choose_device("tensorrt", options.device), options)
        if not isinstance(opened.contract, Contract):
            opened.close()
            raise ContractError(f"{path}: the engine of a backbone: give its ONNX file")
        return opened
    contract = read(path)
    name = options.backend if options.backend != "auto" else _fastest(contract, options)
    int8 = contract.precision.startswith("int8")
    # ONNX Runtime has int8 convolutions on CPUs only
    by_itself = "cpu" if int8 and name == "onnxruntime" else "auto"
    device = choose_device(name, by_itself if options.device == "auto" else options.device)
    if options.bf16 and device.kind not in ("cpu", "gpu"):
        raise InputError("bfloat16 is offered on CPUs only: leave out --bf16")
    require_runnable(contract, path, name, device.kind)
    if options.bf16 and contract.optimize == "cpu":
        raise BackendError(
            f"{path}: Winograd's sums lose too much in bfloat16 (attention changes ten times "
            "more): use the file exported without --optimize cpu"
        )
    if name == "onnxruntime-tensorrt" and not isinstance(contract, Contract):
        raise BackendError(
            f"{path}: {name} runs localization models only: use --backend tensorrt for this file"
        )
    if name == "tensorrt":
        from co2net_runtime.backends.trt.backend import open_tensorrt

        return open_tensorrt(path, device, options)
    if name == "openvino":
        from co2net_runtime.backends.ov import OpenVinoBackend

        return OpenVinoBackend(path, contract, device, options)
    from co2net_runtime.backends.ort.backend import OnnxRuntimeBackend

    provider = _provider(name, path, contract, device, options)
    return OnnxRuntimeBackend(path, contract, options, provider)


def _fastest(contract: GraphContract, options: EngineOptions) -> BackendName:
    """Return the installed engine that "auto" stands for.

    On a GPU: ONNX Runtime, which needs no building, before TensorRT. On a CPU: what
    benchmarks/results/cpu-engines.md shows to be fastest for this kind of file.
    """
    from co2net_runtime.backends.ort.module import load_onnxruntime
    from co2net_runtime.backends.ov import load_openvino
    from co2net_runtime.backends.trt.api import load_tensorrt

    loaders: dict[BackendName, Callable[[], Any]] = {
        "onnxruntime": load_onnxruntime,
        "openvino": load_openvino,
        "tensorrt": load_tensorrt,
    }
    order: list[BackendName] = ["onnxruntime", "tensorrt", "openvino"]
    wanted = None if options.device == "auto" else Device.parse(options.device).kind
    wants_gpu = wanted == "cuda" or (wanted is None and bool(gpus()))
    if wanted == "gpu":
        order = ["openvino"]
    elif contract.precision == "int8-trt":
        order = ["tensorrt", "onnxruntime"] if wants_gpu else ["onnxruntime"]
    elif not wants_gpu and _openvino_is_faster(contract, options):
        order = ["openvino", "onnxruntime", "tensorrt"]
    missing: list[MissingDependencyError] = []
    for name in order:
        try:
            loaders[name]()
        except MissingDependencyError as error:
            missing.append(error)
        else:
            return name
    raise next((one for one in missing if "onnxruntime" in str(one)), missing[0])


def _openvino_is_faster(contract: GraphContract, options: EngineOptions) -> bool:
    if options.bf16 and not is_arm():
        return True  # ONNX Runtime does not compute in bfloat16 here
    if not isinstance(contract, Contract):
        return True  # a backbone
    # ONNX Runtime wins with a snippet of a stream, with the graph that was rewritten for its matrix
    # products, and with int8 unless the videos are short
    if contract.graph == "live" or contract.optimize == "cpu":
        return False
    if contract.precision == "int8-cpu":
        return options.typical_length is not None and options.typical_length <= SHORT
    return True


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
    from co2net_runtime.backends.ort.module import load_onnxruntime

    return ort_providers.CUDA in load_onnxruntime().get_available_providers()


def require_runnable(
    contract: GraphContract,
    path: str | os.PathLike[str],
    name: BackendName,
    device: DeviceKind,
) -> None:
    """Raise BackendError if the backend cannot run the file's precision or form."""
    if contract.optimize == "cpu" and name in ("tensorrt", "onnxruntime-tensorrt"):
        raise BackendError(
            f"{path}: rewritten for CPUs with operators that TensorRT lacks: export without "
            "--optimize cpu"
        )
    if contract.precision == "int8-cpu" and name in ("tensorrt", "onnxruntime-tensorrt"):
        raise BackendError(
            f"{path}: its int8 is made for CPUs (asymmetric), TensorRT takes symmetric int8 only: "
            "export with --precision int8-trt"
        )
    if contract.precision.startswith("int8") and (name, device) == ("onnxruntime", "cuda"):
        raise BackendError(
            f"{path}: ONNX Runtime multiplies int8 on CPUs only; on a GPU it would convert to "
            "float and back around each layer: use fp16, or int8-trt with TensorRT"
        )
    if contract.precision == "int8-trt" and name == "openvino":
        raise BackendError(
            f"{path}: its int8 is made for TensorRT; OpenVINO was seen to compute it wrongly: "
            "export with --precision int8-cpu"
        )


def _provider(
    name: BackendName,
    path: str | os.PathLike[str],
    contract: GraphContract,
    device: Device,
    options: EngineOptions,
) -> ort_providers.Provider:
    if name == "onnxruntime-tensorrt":
        from co2net_runtime.backends.ort.trt_provider import provider_options

        strings = provider_options(path, device, options)
        return ort_providers.tensorrt(device, options, strings, contract.precision)
    if device.kind == "cuda":
        return ort_providers.cuda(device, options, contract.precision)
    return ort_providers.cpu()
