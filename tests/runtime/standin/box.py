# ruff: noqa: ARG002  # the driver takes what the real one takes
"""A machine with a pretended GPU: the modules and the driver put in place of the real ones."""

import os
import sys
import time
import types
from pathlib import Path

from co2net_runtime.backends import device
from co2net_runtime.backends.trt import cuda
from tests.runtime.standin import api, builder, engine
from tests.runtime.standin.cuda import Cuda


class TensorRt(types.ModuleType):
    """The module tensorrt of one pretended box."""

    def __init__(self, box):
        super().__init__("tensorrt")
        self.__version__ = box.tensorrt
        for name in api.__all__:
            setattr(self, name, getattr(api, name))
        self.nptype = lambda data_type: data_type.value
        self.Builder = lambda logger: builder.Builder(box, logger)
        self.OnnxParser = builder.OnnxParser
        self.Runtime = lambda logger: engine.Runtime(box, logger)


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
        major, minor = self._box.capability
        value._obj.value = {
            75: major,
            76: minor,
            16: self._box.multiprocessors,
            18: int(self._box.cuda.integrated),
        }[attribute]
        return 0

    def cuCtxPushCurrent_v2(self, context):
        return 0

    def cuMemGetInfo_v2(self, free, total):
        total._obj.value = self._box.cuda.memory_bytes
        free._obj.value = total._obj.value - sum(map(len, self._box.cuda.blocks.values()))
        return 0

    def cuCtxPopCurrent_v2(self, context):
        return 0

    def __getattr__(self, name):  # memory and streams
        return getattr(self._box.cuda, name)


class Box:
    """A machine with a pretended GPU; set the attributes to make it fail or be another one."""

    def __init__(self, *, tensorrt="10.13.3.9", gpu_name="Stand-in GPU", capability=(8, 7)):
        self.tensorrt = tensorrt
        self.gpu_name = gpu_name
        self.capability = capability
        self.multiprocessors = 16
        self.cuda = Cuda(memory_bytes=512 << 20)
        self.fail_start = self.fail_build = self.fail_context = self.host_tensor = ""
        self.fail_profile = self.fail_shapes = ""
        self.log_error = self.fail_capture = ""
        self.inspector = None  # what the engine's inspector says instead
        self.fail_execute = []
        self.lose_after = None  # executions; then the GPU is lost
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

    def revive(self):
        """Be the same machine for another process."""
        self.lose_after = None
        self.cuda.__init__(memory_bytes=self.cuda.memory_bytes)

    def profiles_used(self):
        return [call[1] for call in self.calls if call[2] == "features"]

    def install(self, setitem=None, setattribute=None):
        """Put the stand-ins in place, through monkeypatch's methods or for good."""
        setitem = setitem or (lambda mapping, key, value: mapping.__setitem__(key, value))
        setattribute = setattribute or setattr
        setitem(sys.modules, "tensorrt", TensorRt(self))
        driver = Driver(self)
        setattribute(device, "load_driver", lambda: driver)
        setattribute(cuda, "load_driver", lambda: driver)
