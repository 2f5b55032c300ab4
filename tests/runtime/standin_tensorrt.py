# ruff: noqa: ARG002  # the calls take what the real ones take
"""A box with a pretended GPU: stand-ins of TensorRT and cuda-python that keep their contracts.

The engine computes through ONNX Runtime. What the real libraries answer with False, None or an
error code, the stand-ins answer alike; what is undefined behaviour there (a shape after the
address, a buffer too small, a result read before the stream was synchronized, a copy while a
launch is recorded) is a ContractBreach here, and memory that nobody has written holds NaN.
Work put into the stream is done when the stream is synchronized, not before.
"""

import ctypes
import enum
import json
import os
import sys
import threading
import time
import types
import zlib
from pathlib import Path

import numpy as np
import onnxruntime

from co2net_runtime.backends import device

MAGIC = b"standin-engine\n"
POISON = 0xFF  # as float32, NaN


class ContractBreach(AssertionError):
    """The caller did what TensorRT or CUDA leaves undefined."""


class DataType(enum.Enum):
    FLOAT = np.float32
    INT64 = np.int64


class DeviceType(enum.Enum):
    GPU = 0
    DLA = 1


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class BuilderFlag(enum.Enum):
    GPU_FALLBACK = 3
    TF32 = 6
    VERSION_COMPATIBLE = 13


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class HardwareCompatibilityLevel(enum.Enum):
    NONE = 0
    AMPERE_PLUS = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class Dims:
    """Not iterable beyond len and index, as in the bindings."""

    def __init__(self, shape):
        self._shape = [int(size) for size in shape]

    def __len__(self):
        return len(self._shape)

    def __getitem__(self, index):
        return self._shape[index]


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self):
        self.ready = True


class HostMemory(bytes):
    """What serialize() returns: a buffer."""


class ParserError:
    def __init__(self, text):
        self._text = text

    def __str__(self):
        return self._text


class IOptimizationProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, low, best, high):
        self.shapes[name] = [[d[axis] for axis in range(len(d))] for d in (low, best, high)]


class ITimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return HostMemory(self.content)


class Cuda(types.ModuleType):
    """cuda.bindings.runtime: each call returns a tuple, the error first."""

    class cudaError_t(enum.IntEnum):  # CUDA's own names
        cudaSuccess = 0
        cudaErrorInvalidValue = 1
        cudaErrorMemoryAllocation = 2
        cudaErrorStreamCaptureUnsupported = 900

    class cudaMemcpyKind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(enum.IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    cudaStreamNonBlocking = 1

    class Stream:
        """Holds work until it is synchronized, or records it."""

        def __init__(self, handle):
            self.handle = handle
            self.pending = []
            self.recording = None

        def __int__(self):
            return self.handle

        def put(self, work):
            (self.pending if self.recording is None else self.recording).append(work)

    def __init__(self, memory_bytes):
        super().__init__("cuda.bindings.runtime")
        self.memory_bytes = memory_bytes
        self.blocks = {}
        self.streams = {}
        self.recorded = set()
        self._next = 0x7000_0000
        self._thread = threading.local()
        self.launches = self.recordings = 0

    def block(self, address, size):
        """Return the memory at an address that cudaMalloc gave."""
        if address not in self.blocks:
            raise ContractBreach(f"address {address:#x} is not allocated")
        if size > len(self.blocks[address]):
            raise ContractBreach(f"{size} bytes in a buffer of {len(self.blocks[address])}")
        return self.blocks[address]

    def require_device(self):
        if getattr(self._thread, "device", None) is None:
            raise ContractBreach("cudaSetDevice was not called in this thread")

    def cudaGetErrorString(self, error):
        text = {2: b"out of memory", 900: b"operation not permitted when stream is capturing"}
        return self.cudaError_t.cudaSuccess, text.get(int(error), b"invalid argument")

    def cudaSetDevice(self, index):
        self._thread.device = index
        return (self.cudaError_t.cudaSuccess,)

    def cudaMalloc(self, size):
        self.require_device()
        if any(stream.recording is not None for stream in self.streams.values()):
            raise ContractBreach("cudaMalloc while a launch is recorded")
        if sum(map(len, self.blocks.values())) + size > self.memory_bytes:
            return self.cudaError_t.cudaErrorMemoryAllocation, None
        address = self._next
        self._next += (size + 511) // 512 * 512 + 512
        self.blocks[address] = bytearray([POISON]) * size
        return self.cudaError_t.cudaSuccess, address

    def cudaFree(self, address):
        self.block(address, 0)
        if any(stream.pending for stream in self.streams.values()):
            raise ContractBreach("cudaFree while the stream holds work")
        del self.blocks[address]
        return (self.cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, to, source, size, kind, stream):
        self.require_device()
        if stream.recording is not None:
            return (self.cudaError_t.cudaErrorStreamCaptureUnsupported,)
        if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice:
            data = ctypes.string_at(source, size)  # pageable memory is staged before the return
            stream.put(lambda: self.block(to, size).__setitem__(slice(size), data))
        else:
            stream.put(lambda: ctypes.memmove(to, bytes(self.block(source, size)[:size]), size))
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags):
        self.require_device()
        stream = self.Stream(len(self.streams) + 1)
        self.streams[stream.handle] = stream
        return self.cudaError_t.cudaSuccess, stream

    def cudaStreamDestroy(self, stream):
        del self.streams[stream.handle]
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        if stream.recording is not None:
            return (self.cudaError_t.cudaErrorStreamCaptureUnsupported,)
        while stream.pending:
            stream.pending.pop(0)()
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream, mode):
        if stream.recording is not None:
            return (self.cudaError_t.cudaErrorInvalidValue,)
        stream.recording = []
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream):
        if stream.recording is None:
            return self.cudaError_t.cudaErrorInvalidValue, None
        graph, stream.recording = tuple(stream.recording), None
        return self.cudaError_t.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph, flags):
        self.recordings += 1
        recorded = (self.recordings, graph)
        self.recorded.add(recorded)
        return self.cudaError_t.cudaSuccess, recorded

    def cudaGraphDestroy(self, graph):
        return (self.cudaError_t.cudaSuccess,)

    def cudaGraphLaunch(self, recorded, stream):
        if recorded not in self.recorded:
            raise ContractBreach("launch of a destroyed recording")
        self.launches += 1
        for work in recorded[1]:
            stream.put(work)
        return (self.cudaError_t.cudaSuccess,)

    def cudaGraphExecDestroy(self, recorded):
        self.recorded.remove(recorded)
        return (self.cudaError_t.cudaSuccess,)


class Network:
    def __init__(self, flags):
        self.strongly_typed = bool(flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1)
        self.onnx = b""
        self.inputs = {}


class BuilderConfig:
    def __init__(self, box):
        self._box = box
        self.flags = {BuilderFlag.TF32}  # TensorRT's default
        self.profiles = []
        self.pools = {}
        self.timing = ITimingCache(b"")
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.pools[pool] = size

    def add_optimization_profile(self, profile):
        for low, best, high in profile.shapes.values():
            if not all(a <= b <= c for a, b, c in zip(low, best, high, strict=True)):
                return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        return ITimingCache(bytes(content))

    def set_timing_cache(self, cache, ignore_mismatch):
        fits = not cache.content or cache.content.startswith(self._box.timing_header())
        if fits or ignore_mismatch:
            self.timing = cache
        return fits or ignore_mismatch

    def get_timing_cache(self):
        return self.timing


class TensorRt(types.ModuleType):
    """The module tensorrt of one pretended box."""

    DataType, DeviceType, Dims, ILogger = DataType, DeviceType, Dims, ILogger
    TensorIOMode, TensorLocation, BuilderFlag = TensorIOMode, TensorLocation, BuilderFlag
    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    HardwareCompatibilityLevel, MemoryPoolType = HardwareCompatibilityLevel, MemoryPoolType
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    def __init__(self, box):
        super().__init__("tensorrt")
        self.__version__ = box.tensorrt
        self.Builder = lambda logger: Builder(box, logger)
        self.OnnxParser = lambda network, logger: OnnxParser(network, logger)
        self.Runtime = lambda logger: Runtime(box, logger)

    @staticmethod
    def nptype(data_type):
        return data_type.value


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
        self._network.onnx = model
        self._network.inputs = {value.name: value.shape for value in session.get_inputs()}
        return True


class Builder:
    def __init__(self, box, logger):
        if not getattr(logger, "ready", False):
            raise ContractBreach("ILogger.__init__ was not called")
        self._box = box
        self._logger = logger
        self.num_DLA_cores = box.dla_cores

    def create_network(self, flags=0):
        return Network(flags)

    def create_builder_config(self):
        return BuilderConfig(self._box)

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        self._box.built(network, config)
        problem = self._problem(network, config)
        if problem:
            self._logger.log(ILogger.Severity.ERROR, problem)
            return None
        header = {
            "tensorrt": self._box.tensorrt,
            "gpu": self._box.gpu_name,
            "version_compatible": BuilderFlag.VERSION_COMPATIBLE in config.flags,
            "hardware_compatible": config.hardware_compatibility_level
            is HardwareCompatibilityLevel.AMPERE_PLUS,
            "profiles": [profile.shapes for profile in config.profiles],
            "checksum": zlib.crc32(network.onnx),
        }
        config.timing.content = self._box.timing_header() + config.timing.content[-200:] + b"+"
        return HostMemory(MAGIC + json.dumps(header).encode() + b"\n" + network.onnx)

    def _problem(self, network, config):
        if self._box.fail_build:
            return self._box.fail_build
        if not network.strongly_typed:
            return "weakly typed networks are removed"
        for profile in config.profiles:
            if set(profile.shapes) != set(network.inputs):
                return f"profile has shapes of {set(profile.shapes)}, not {set(network.inputs)}"
        return "" if config.profiles else "dynamic inputs need a profile"


class Runtime:
    def __init__(self, box, logger):
        self._box = box
        self._logger = logger
        self.engine_host_code_allowed = False
        self.DLA_core = -1

    def deserialize_cuda_engine(self, content):
        try:
            magic, head, onnx = content.split(b"\n", 2)
            header = json.loads(head)
            damaged = magic + b"\n" != MAGIC or zlib.crc32(onnx) != header["checksum"]
        except ValueError:
            damaged = True
        if damaged:
            return self._refuse("magicTag == kSERIALIZATION_TAG: stream is damaged")
        portable = header["version_compatible"] and self.engine_host_code_allowed
        if header["tensorrt"] != self._box.tensorrt and not portable:
            return self._refuse(f"engine of version {header['tensorrt']}")
        if header["gpu"] != self._box.gpu_name and not header["hardware_compatible"]:
            return self._refuse("engine of another device")
        return Engine(self._box, self._logger, header, onnx)

    def _refuse(self, text):
        self._logger.log(ILogger.Severity.ERROR, text)


class Engine:
    def __init__(self, box, logger, header, onnx):
        self.box = box
        self.logger = logger
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"]
        )
        self.profiles = header["profiles"]
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        self.types = {
            value.name: DataType.INT64 if "int64" in value.type else DataType.FLOAT
            for value in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.num_io_tensors = len(self.types)
        self.num_optimization_profiles = len(self.profiles)
        self.contexts = 0

    @property
    def device_memory_size_v2(self):
        return max(64 * np.prod(p["features"][2][:2]) for p in self.profiles).item()

    def get_tensor_name(self, index):
        # the order of an engine's tensors is no contract
        return [*self.outputs, *self.inputs][index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return self.types[name]

    def get_tensor_location(self, name):
        return TensorLocation.HOST if name == self.box.host_tensor else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name, profile_index):
        return [Dims(shape) for shape in self.profiles[profile_index][name]]

    def create_execution_context(self, strategy):
        self.contexts += 1
        if self.box.fail_context:
            self.logger.log(ILogger.Severity.ERROR, self.box.fail_context)
            return None
        return Context(self, strategy)


class Context:
    def __init__(self, engine, strategy):
        self._engine = engine
        self._box = engine.box
        self._scratch = None if strategy is ExecutionContextAllocationStrategy.USER_MANAGED else 0
        # only the first context of an engine starts with a profile
        self._profile = 0 if engine.contexts == 1 else None
        self._shapes = {}
        self._addresses = {}
        self._settled = False

    def set_device_memory(self, memory, size):
        self._box.cuda.block(memory, size)
        if memory % 256 or size < self._engine.device_memory_size_v2:
            raise ContractBreach("device memory is too small or not aligned")
        self._scratch = memory

    def set_optimization_profile_async(self, profile_index, stream_handle):
        self._stream(stream_handle)
        if not 0 <= profile_index < len(self._engine.profiles):
            return self._refuse("no such profile")
        self._profile, self._settled = profile_index, False
        self._shapes.clear()
        self._addresses.clear()
        return True

    def set_input_shape(self, name, shape):
        if self._profile is None:
            return self._refuse("no optimization profile is set")
        if name not in self._engine.inputs:
            return self._refuse(f"{name} is no input")
        low, _, high = self._engine.profiles[self._profile][name]
        if len(shape) != len(low) or not all(
            a <= size <= b for a, size, b in zip(low, shape, high, strict=True)
        ):
            return self._refuse(f"{name} {shape} is out of profile {self._profile}")
        self._box.calls.append(("shape", self._profile, name, tuple(shape)))
        if self._shapes.get(name) != tuple(shape):
            self._shapes[name], self._settled = tuple(shape), False
            self._addresses.clear()
        return True

    def infer_shapes(self):
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return Dims(self._shapes[name])
        if name in self._engine.inputs or "features" not in self._shapes:
            return Dims([-1, -1, -1])
        batch, length, _ = self._shapes["features"]
        channels = self._engine.session.get_outputs()[self._engine.outputs.index(name)].shape[2]
        return Dims([batch, length, channels])

    def set_tensor_address(self, name, memory):
        if self.infer_shapes():
            raise ContractBreach(f"address of {name} before the shapes of {self.infer_shapes()}")
        size = int(np.prod(self._shape(name))) * self._engine.types[name].value().itemsize
        self._box.cuda.block(memory, size)
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        stream = self._stream(stream_handle)
        missing = set(self._engine.types) - set(self._addresses)
        if missing:
            raise ContractBreach(f"execute before the addresses of {missing}")
        if self._scratch is None:
            raise ContractBreach("execute without device memory in a USER_MANAGED context")
        if self._box.fail_execute:
            return self._refuse(self._box.fail_execute.pop(0))
        if stream.recording is not None and not self._settled:
            raise ContractBreach("recorded before one execution with these shapes")
        self._settled = True
        self._box.executions += 1
        stream.put(self._work(dict(self._shapes), dict(self._addresses)))
        return True

    def _work(self, shapes, addresses):
        """Return the launch: shapes and addresses are fixed, what the memory holds is not."""

        def work():
            feeds = {}
            for name in self._engine.inputs:
                dtype = self._engine.types[name].value
                size = int(np.prod(shapes[name])) * dtype().itemsize
                content = bytes(self._box.cuda.block(addresses[name], size)[:size])
                feeds[name] = np.frombuffer(content, dtype).reshape(shapes[name])
            outputs = self._engine.session.run(self._engine.outputs, feeds)
            for name, array in zip(self._engine.outputs, outputs, strict=True):
                block = self._box.cuda.block(addresses[name], array.nbytes)
                block[: array.nbytes] = array.tobytes()

        return work

    def _shape(self, name):
        dims = self.get_tensor_shape(name)
        return [dims[axis] for axis in range(len(dims))]

    def _stream(self, handle):
        self._box.cuda.require_device()
        if handle not in self._box.cuda.streams:
            raise ContractBreach(f"no stream with handle {handle!r}")
        return self._box.cuda.streams[handle]

    def _refuse(self, text):
        self._engine.logger.log(ILogger.Severity.ERROR, text)
        return False


class Driver:
    """libcuda.so.1 as ctypes sees it."""

    def __init__(self, box):
        self._box = box

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = 13020
        return 0

    def cuDeviceGet(self, handle, index):
        handle._obj.value = 100 + index
        return 0

    def cuDeviceGetName(self, buffer, size, handle):
        assert handle.value == 100
        buffer.value = self._box.gpu_name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, size, handle):
        size._obj.value = self._box.cuda.memory_bytes
        return 0

    def cuDeviceGetAttribute(self, value, attribute, handle):
        value._obj.value = {75: self._box.capability[0], 76: self._box.capability[1]}[attribute]
        return 0

    def cuDevicePrimaryCtxRetain(self, context, handle):
        return 0

    def cuCtxPushCurrent_v2(self, context):
        return 0

    def cuMemGetInfo_v2(self, free, total):
        total._obj.value = self._box.cuda.memory_bytes
        free._obj.value = total._obj.value - sum(map(len, self._box.cuda.blocks.values()))
        return 0

    def cuCtxPopCurrent_v2(self, context):
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, handle):
        return 0


class Box:
    """A machine with a pretended GPU; set the attributes to make it fail or be another one."""

    def __init__(self, *, tensorrt="10.13.3.9", gpu_name="Stand-in GPU", capability=(8, 7)):
        self.tensorrt = tensorrt
        self.gpu_name = gpu_name
        self.capability = capability
        self.cuda = Cuda(memory_bytes=256 << 20)
        self.dla_cores = 0
        self.host_tensor = self.fail_build = self.fail_context = ""
        self.fail_execute = []
        self.builds = []
        self.executions = 0
        self.calls = []

    def timing_header(self):
        return f"timing {self.gpu_name} {self.tensorrt} ".encode()

    def built(self, network, config):
        self.builds.append((network, config))
        if "STANDIN_BUILDS" in os.environ:  # counts over processes; slow, so that they meet
            with Path(os.environ["STANDIN_BUILDS"]).open("a") as log:
                log.write(f"{os.getpid()}\n")
            time.sleep(0.5)

    def profiles_used(self):
        return [call[1] for call in self.calls if call[2] == "features"]

    def install(self, setitem=None, setattribute=None):
        """Put the stand-ins in place, through monkeypatch's methods or for good."""
        setitem = setitem or (lambda mapping, key, value: mapping.__setitem__(key, value))
        setattribute = setattribute or setattr
        bindings = types.ModuleType("cuda.bindings")
        bindings.runtime = self.cuda
        package = types.ModuleType("cuda")
        package.bindings = bindings
        for module in (package, bindings, self.cuda, TensorRt(self)):
            setitem(sys.modules, module.__name__, module)
        driver = Driver(self)
        setattribute(device, "_driver", lambda: driver)
