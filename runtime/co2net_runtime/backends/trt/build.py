"""ONNX -> TensorRT engine, strongly typed: the file alone decides the precision."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends.trt.api import Messages, load_tensorrt
from co2net_runtime.backends.trt.profiles import TensorRtOptions
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

MIB = 1 << 20


@dataclass(frozen=True)
class Built:
    """A serialized engine, and the timing cache that makes the next build faster."""

    engine: bytes
    timing_cache: bytes


def build_engine(
    path: str | os.PathLike[str],
    contract: Contract,
    options: TensorRtOptions,
    *,
    tf32: bool = False,
    timing_cache: bytes = b"",
) -> Built:
    """Build the engine of an ONNX file for the calling thread's GPU; this takes a minute or more.

    tf32: let fp32 multiplications be rounded to 10 bits, for speed. timing_cache: of an earlier
    build; one that does not fit this GPU and TensorRT is left aside.

    Raises MissingDependencyError without TensorRT, BackendError if it refuses the model or the
    options.
    """
    load_tensorrt()
    import tensorrt as trt

    messages = Messages()
    builder = messages.start(trt.Builder)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse(Path(path).read_bytes()):
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        reason = "; ".join(errors) or messages.take()
        raise BackendError(f"{path}: TensorRT cannot read the model: {reason}")
    config = builder.create_builder_config()
    _add_profiles(builder, config, contract, options, messages)
    _set_options(builder, config, options, tf32=tf32)
    _set_timing_cache(config, timing_cache)
    messages.take()
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendError(f"{path}: TensorRT cannot build the engine: {messages.take()}")
    return Built(bytes(serialized), bytes(config.get_timing_cache().serialize()))


def _add_profiles(
    builder: "trt.Builder",
    config: "trt.IBuilderConfig",
    contract: Contract,
    options: TensorRtOptions,
    messages: Messages,
) -> None:
    import tensorrt as trt

    for wanted in options.to_build:
        profile = builder.create_optimization_profile()
        for name, shapes in wanted.shapes(contract).items():
            low, best, high = (trt.Dims(list(shape)) for shape in shapes)
            profile.set_shape(name, low, best, high)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"TensorRT refuses the profile {wanted}: {messages.take()}")


def _set_options(
    builder: "trt.Builder", config: "trt.IBuilderConfig", options: TensorRtOptions, *, tf32: bool
) -> None:
    import tensorrt as trt

    if not tf32:  # TensorRT's default is on, and an fp32 file would not be computed in fp32
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.dla_core is not None:
        if options.dla_core >= builder.num_DLA_cores:
            raise BackendError(
                f"DLA core {options.dla_core} was asked for, but this machine has "
                f"{builder.num_DLA_cores}"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)  # shapes and masks do not run on a DLA


def _set_timing_cache(config: "trt.IBuilderConfig", timing_cache: bytes) -> None:
    cache = config.create_timing_cache(timing_cache)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        logger.info("the timing cache is of another GPU or TensorRT: starting a new one")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
