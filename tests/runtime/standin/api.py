"""TensorRT's enumerations and small objects."""

import enum

import numpy as np

# what the module tensorrt has
__all__ = [
    "BuilderFlag",
    "DataType",
    "DeviceType",
    "Dims",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "ILogger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "TensorIOMode",
    "TensorLocation",
]


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


def refuse_to_start(box, logger):
    """Do as the bindings do where the library returns a null pointer."""
    if box.fail_start:
        logger.log(ILogger.Severity.ERROR, box.fail_start)
        raise TypeError("pybind11::init(): factory function returned nullptr")
