"""ONNX -> TensorRT engine, strongly typed: the file alone decides the precision."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from co2net_runtime.artefact.backbone import BackboneContract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends.trt.api import Messages, load_tensorrt
from co2net_runtime.backends.trt.layers import Layers, inspect_layers
from co2net_runtime.backends.trt.profiles import TensorRtOptions
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

MIB = 1 << 20


@dataclass(frozen=True)
class Built:
    """A serialized engine, what is in it, and what makes the next build faster."""

    engine: bytes
    layers: Layers
    timing_cache: bytes


def build_engine(
    path: str | os.PathLike[str],
    contract: Contract | BackboneContract,
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
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = messages.ask("a network", builder.create_network, typed)
    _parse(path, network, messages)
    config = messages.ask("a configuration", builder.create_builder_config)
    _add_profiles(builder, config, contract, options, messages)
    with messages.guard("an option of the engine"):
        _set_options(config, options, tf32=tf32)
    _set_timing_cache(config, timing_cache, messages)
    what = f"to build the engine of {path}"
    serialized = messages.ask(what, builder.build_serialized_network, network, config)
    engine = bytes(serialized)
    return Built(engine, _layers(engine, options, messages), _timing_cache(config, messages))


def _parse(
    path: str | os.PathLike[str], network: "trt.INetworkDefinition", messages: Messages
) -> None:
    import tensorrt as trt

    parser = trt.OnnxParser(network, messages.logger)
    try:
        messages.ask(f"the model {path}", parser.parse, Path(path).read_bytes())
    except BackendError as error:
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        if not errors:
            raise
        raise BackendError(f"TensorRT refuses the model {path}: {'; '.join(errors)}") from error


def _add_profiles(
    builder: "trt.Builder",
    config: "trt.IBuilderConfig",
    contract: Contract | BackboneContract,
    options: TensorRtOptions,
    messages: Messages,
) -> None:
    import tensorrt as trt

    for wanted in options.to_build:
        what = f"the profile {wanted}"
        profile = messages.ask(what, builder.create_optimization_profile)
        with messages.guard(what):
            for name, shapes in wanted.shapes(contract).items():
                low, best, high = (trt.Dims(list(shape)) for shape in shapes)
                profile.set_shape(name, low, best, high)
        if messages.ask(what, config.add_optimization_profile, profile) < 0:
            raise BackendError(f"TensorRT refuses {what}")


def _set_options(config: "trt.IBuilderConfig", options: TensorRtOptions, *, tf32: bool) -> None:
    import tensorrt as trt

    # so that the inspector tells the layers' types; the layers are the same
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not tf32:  # TensorRT's default is on, and an fp32 file would not be computed in fp32
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)


def _layers(engine: bytes, options: TensorRtOptions, messages: Messages) -> Layers:
    import tensorrt as trt

    runtime = messages.start(trt.Runtime)
    if options.version_compatible:
        runtime.engine_host_code_allowed = True
    opened = messages.ask("the engine", runtime.deserialize_cuda_engine, engine)
    return inspect_layers(opened, messages)


def _set_timing_cache(
    config: "trt.IBuilderConfig", timing_cache: bytes, messages: Messages
) -> None:
    try:
        known = messages.ask("the timing cache", config.create_timing_cache, timing_cache)
        messages.ask("the timing cache", config.set_timing_cache, known, ignore_mismatch=False)
    except BackendError as error:  # cut, or of another GPU or TensorRT
        logger.info("%s: starting a new one", error)


def _timing_cache(config: "trt.IBuilderConfig", messages: Messages) -> bytes:
    """Return the timings that the build measured, b"" where TensorRT keeps none."""
    try:
        cache = messages.ask("the timing cache", config.get_timing_cache)
        return bytes(messages.ask("the timing cache", cache.serialize))
    except BackendError as error:
        logger.info("%s: the next build measures again", error)
        return b""
