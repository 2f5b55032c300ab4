"""TensorRT's enumerations and small objects."""

import enum

import numpy as np

# what the module tensorrt has
__all__ = [
    "BuilderFlag",
    "DataType",
    "Dims",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "ILogger",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
    "TensorLocation",
]


class DataType(enum.Enum):
    FLOAT = np.float32
    HALF = np.float16
    INT32 = np.int32
    BOOL = np.bool_
    INT64 = np.int64


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class BuilderFlag(enum.Enum):
    TF32 = 6
    VERSION_COMPATIBLE = 13


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class HardwareCompatibilityLevel(enum.Enum):
    NONE = 0
    AMPERE_PLUS = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


# the element types of ONNX Runtime's inputs and outputs
TYPES = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int64)": DataType.INT64,
    "tensor(int32)": DataType.INT32,
    "tensor(bool)": DataType.BOOL,
}


class Dims:
    """Not iterable beyond len and index, as in the bindings."""

    def __init__(self, shape):
        if not all(type(size) is int for size in shape):  # a numpy integer fits no overload
            raise TypeError("__init__(): incompatible constructor arguments")
        self._shape = list(shape)

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
        if not all(isinstance(dims, Dims) for dims in (low, best, high)):
            raise TypeError("set_shape(): incompatible function arguments")
        shapes = [[d[axis] for axis in range(len(d))] for d in (low, best, high)]
        if not all(a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            # PY_ASSERT_RUNTIME_ERROR in the bindings, 10.3 and later
            raise RuntimeError("Shape provided for min is inconsistent with other shapes.")
        self.shapes[name] = shapes


class ITimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return HostMemory(self.content)


def refuse_to_start(box, logger):
    """Do as the bindings do where the library returns a null pointer."""
    if box.fail_start:
        logger.log(ILogger.Severity.ERROR, box.fail_start)
        raise TypeError("pybind11::init(): factory function returned nullptr")
