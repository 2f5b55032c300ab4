"""Memory that an engine works in: on the GPU, and in pinned memory of the CPU beside it."""

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.backends.trt.cuda import Cuda


class DeviceBuffer:
    """Memory on the GPU that grows with what it must hold, and never shrinks."""

    def __init__(self, cuda: Cuda) -> None:
        """Hold nothing yet."""
        self._cuda = cuda
        self._size = 0
        self.address = 0

    def reserve(self, size: int) -> int:
        """Return the address of at least `size` bytes; what was held is lost when it grows."""
        if size > self._size:
            self.free()
            self.address = self._cuda.allocate(size)
            self._size = size
        return self.address

    def free(self) -> None:
        """Give the memory back."""
        if self._size:
            address, self.address, self._size = self.address, 0, 0
            self._cuda.free(address)


class TensorMemory:
    """The memory of one input or output: the CPU's side of it, and the GPU's.

    Both sides are one where CPU and GPU share the memory (a Jetson): nothing is copied there.
    Managed memory would not do for that: a Jetson's CPU may not touch it while the GPU computes.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Take memory for arrays of at most this shape.

        Raises BackendError if memory is short.
        """
        self._cuda = cuda
        self._dtype = dtype
        self.size = max(1, math.prod(shape)) * dtype.itemsize
        self._device = DeviceBuffer(cuda)
        self._host = cuda.allocate_host(self.size)
        self._bytes: Any = (ctypes.c_char * self.size).from_address(self._host)
        self.address = 0
        try:
            if cuda.integrated:
                self.address = cuda.device_address(self._host)
            else:
                self.address = self._device.reserve(self.size)
        except BaseException:
            self.free()
            raise

    def array(self, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the CPU's side as an array; it is read or written in place."""
        return np.frombuffer(self._bytes, self._dtype, math.prod(shape)).reshape(shape)

    def upload(self, shape: tuple[int, ...]) -> None:
        """Bring an array of that shape to the GPU, beside what it computes."""
        if not self._cuda.integrated:
            self._cuda.upload(self.address, self._host, self._bytes_of(shape))

    def download(self, shape: tuple[int, ...]) -> None:
        """Bring an array of that shape back, once the GPU has computed it."""
        if not self._cuda.integrated:
            self._cuda.download(self._host, self.address, self._bytes_of(shape))

    def free(self) -> None:
        """Give the memory back; no array of it may be used any more."""
        self._device.free()
        if self._host:
            host, self._host = self._host, 0
            self._cuda.free_host(host)

    def _bytes_of(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * self._dtype.itemsize
