# ruff: noqa: ARG002  # the calls take what the real ones take
"""TensorRT's parser and builder: what was asked for is kept, the engine is the ONNX file."""

import json
import zlib

import onnxruntime

from tests.runtime.standin.api import (
    BuilderFlag,
    HardwareCompatibilityLevel,
    HostMemory,
    ILogger,
    IOptimizationProfile,
    ITimingCache,
    NetworkDefinitionCreationFlag,
    ParserError,
    ProfilingVerbosity,
    refuse_to_start,
)
from tests.runtime.standin.cuda import ContractBreach
from tests.runtime.standin.parser import refusals
from tests.runtime.standin.tf32 import rounded

MAGIC = b"standin-engine\n"


class Network:
    def __init__(self, flags, tensorrt):
        self.tensorrt = tensorrt
        self.strongly_typed = bool(flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1)
        self.onnx = b""
        self.inputs = {}


class BuilderConfig:
    def __init__(self, box):
        self._box = box
        self.flags = {BuilderFlag.TF32}  # TensorRT's default
        self.profiles = []
        self.pools = {}
        self.builder_optimization_level = 3
        self.timing = ITimingCache(b"")
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool] = size

    def add_optimization_profile(self, profile):
        if self._box.fail_profile:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        content = bytes(content)
        if content and not content.startswith(b"timing "):
            return None  # cut, or no timing cache at all
        return ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        fits = not cache.content or cache.content.startswith(self._box.timing_header())
        if fits or ignore_mismatch:
            self.timing = cache
        return fits or ignore_mismatch

    def get_timing_cache(self):
        return self.timing


class OnnxParser:
    def __init__(self, network, logger):
        self._network = network
        self._errors = []

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return ParserError(self._errors[index])

    def parse(self, model):
        try:
            session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever ONNX Runtime raises, a parser only returns False
            self._errors.append(f"In node 0: {error}")
            return False
        self._errors = refusals(model, self._network.tensorrt)
        if self._errors:
            return False
        self._network.onnx = model
        self._network.inputs = {value.name: value.shape for value in session.get_inputs()}
        return True


class Builder:
    def __init__(self, box, logger):
        if not getattr(logger, "ready", False):
            raise ContractBreach("ILogger.__init__ was not called")
        refuse_to_start(box, logger)
        self._box = box
        self._logger = logger

    def create_network(self, flags=0):
        return Network(flags, self._box.tensorrt)

    def create_builder_config(self):
        return BuilderConfig(self._box)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        self._box.built(network, config)
        # it logs errors of tactics that it passes over, and succeeds
        self._logger.log(ILogger.Severity.ERROR, "Error Code 1: a tactic was skipped")
        problem = self._problem(network, config)
        if problem:
            self._logger.log(ILogger.Severity.ERROR, problem)
            return None
        header = {
            "tensorrt": self._box.tensorrt,
            "gpu": self._box.gpu_name,
            "capability": self._box.capability,
            "version_compatible": BuilderFlag.VERSION_COMPATIBLE in config.flags,
            "hardware_compatible": config.hardware_compatibility_level
            is HardwareCompatibilityLevel.AMPERE_PLUS,
            "profiles": [profile.shapes for profile in config.profiles],
            "detailed": config.profiling_verbosity is ProfilingVerbosity.DETAILED,
        }
        onnx = rounded(network.onnx) if BuilderFlag.TF32 in config.flags else network.onnx
        header["checksum"] = zlib.crc32(onnx)
        config.timing.content = self._box.timing_header() + config.timing.content[-200:] + b"+"
        return HostMemory(MAGIC + json.dumps(header).encode() + b"\n" + onnx)

    def _problem(self, network, config):
        if self._box.fail_build:
            return self._box.fail_build
        if not network.strongly_typed:
            return "weakly typed networks are removed"
        for profile in config.profiles:
            if set(profile.shapes) != set(network.inputs):
                return f"profile has shapes of {set(profile.shapes)}, not {set(network.inputs)}"
        return "" if config.profiles else "dynamic inputs need a profile"
