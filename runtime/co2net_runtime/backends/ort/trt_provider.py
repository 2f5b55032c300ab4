"""The TensorRT execution provider's options: profiles, precision, and a cache that fits them."""

import hashlib
import logging
import os
from pathlib import Path

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device, gpus
from co2net_runtime.backends.ort.module import load_onnxruntime
from co2net_runtime.backends.trt.api import nvinfer_version
from co2net_runtime.backends.trt.profiles import Profile, covering
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import sha256
from co2net_runtime.files.cache import cache_folder, slug, unusable

logger = logging.getLogger(__name__)

MIB, GIB = 1 << 20, 1 << 30


def provider_options(
    path: str | os.PathLike[str], device: Device, options: EngineOptions
) -> dict[str, str]:
    """Return the trt_* strings for the model.

    Without profiles the provider would build an engine for each new length, for minutes.

    Raises InputError for options that only the backend "tensorrt" has.
    """
    build = options.tensorrt
    for name in ("cuda_graphs", "version_compatible"):
        if getattr(build, name):
            raise InputError(f"{name} needs the backend tensorrt, not onnxruntime-tensorrt")
    contract = read_contract(path)
    profile = covering(build.to_build)
    # no trt_fp16_enable, no trt_int8_enable: without them the network is strongly typed, with them
    # TensorRT may move the file's fp32 parts to lower precision (onnxruntime pull request 19695)
    strings = profile_strings(profile, contract)
    if build.hardware_compatible:
        strings["trt_engine_hw_compatible"] = "1"
    if build.optimization_level is not None:
        strings["trt_builder_optimization_level"] = str(build.optimization_level)
    if build.workspace_mib is not None:
        strings["trt_max_workspace_size"] = str(build.workspace_mib * MIB)
    return strings | _cache(path, device, options, strings)


def profile_strings(profile: Profile, contract: Contract) -> dict[str, str]:
    """Return a profile as the provider's options."""
    shapes = profile.shapes(contract)
    return {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, three[index]))}" for name, three in shapes.items()
        )
        for index, which in enumerate(("min", "opt", "max"))
    }


def _cache(
    path: str | os.PathLike[str],
    device: Device,
    options: EngineOptions,
    strings: dict[str, str],
) -> dict[str, str]:
    """Return the cache options: one folder per model, GPU, versions and build options."""
    onnxruntime = load_onnxruntime()
    gpu = gpus()[device.index]
    built = hashlib.sha256(repr(sorted(strings.items())).encode()).hexdigest()
    folder = (
        cache_folder(options.cache)
        / "onnxruntime-tensorrt"
        / "-".join(
            (
                slug(Path(path).stem),
                sha256(path)[:16],
                slug(gpu.name),
                f"sm{gpu.capability[0]}{gpu.capability[1]}",
                f"{gpu.multiprocessors}x{round(gpu.memory_bytes / GIB)}g",
                f"ort{onnxruntime.__version__}",
                f"trt{nvinfer_version((10,)) or 'unknown'}",
                built[:8],
            )
        )
    )
    problem = unusable(folder)
    if problem:
        logger.warning("%s: %s: the engine is built again at each start", folder, problem)
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
