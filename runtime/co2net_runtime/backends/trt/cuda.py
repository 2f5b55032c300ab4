"""All that touches CUDA itself: memory, one stream, recorded launches.

By the driver's own library, which every machine with a GPU has: no CUDA package that must fit the
driver, and nothing to install on a Jetson. TensorRT computes in the same (primary) context.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from co2net_runtime.backends.device import load_driver
from co2net_runtime.errors import BackendError


class CaptureError(BackendError):
    """CUDA cannot record these launches; they run nevertheless."""


STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1

# After these CUresults each later call of the process fails: an illegal address, a launch that
# timed out or failed, a destroyed context, an assertion, bad instructions or addresses, unknown
STICKY = frozenset({700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999})


class Cuda:
    """One GPU and one stream on it."""

    def __init__(self, device: int) -> None:
        """Use GPU number `device`.

        Raises BackendError if CUDA refuses.
        """
        driver = load_driver()
        if driver is None:
            raise BackendError("the NVIDIA driver does not answer (co2net-doctor tells more)")
        self._driver = driver
        self._lost = ""  # the error that ended CUDA in this process
        self._device = ctypes.c_int()
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(self._device), device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        try:
            self.activate()
            self._call("cuStreamCreate", ctypes.byref(self._stream), STREAM_NON_BLOCKING)
        except BackendError:
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)
            raise

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return self._stream.value or 0

    def activate(self) -> None:
        """Make the GPU the calling thread's: CUDA keeps the current context per thread."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Return the address of `size` new bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Free memory that `allocate` returned."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def copy_in(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy a C-contiguous array to the GPU, in the stream."""
        source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        to = ctypes.c_uint64(address)
        self._call("cuMemcpyHtoDAsync_v2", to, source, size, self._stream)

    def copy_out(self, array: npt.NDArray[Any], address: int) -> None:
        """Fill a C-contiguous array from the GPU, in the stream: `synchronize` before use."""
        to, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        source = ctypes.c_uint64(address)
        self._call("cuMemcpyDtoHAsync_v2", to, source, size, self._stream)

    def synchronize(self) -> None:
        """Wait for everything in the stream."""
        self._call("cuStreamSynchronize", self._stream)

    def record(self, work: Callable[[], None]) -> ctypes.c_void_p:
        """Record the work that `work` puts into the stream, to `launch` later; nothing runs now.

        Raises CaptureError if `work` does what cannot be recorded, or the recording is refused.
        """
        graph, recorded = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            self._call("cuStreamBeginCapture_v2", self._stream, CAPTURE_THREAD_LOCAL)
            try:
                work()
            except BaseException:
                # a stream left in capture would refuse every later call
                self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
                raise
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            flags = ctypes.c_ulonglong(0)
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(recorded), graph, flags)
            return recorded
        except BackendError as error:
            if self._lost:
                raise
            raise CaptureError(str(error)) from error
        finally:
            if graph.value is not None:
                self._driver.cuGraphDestroy(graph)

    def launch(self, recorded: ctypes.c_void_p) -> None:
        """Put recorded work into the stream."""
        self._call("cuGraphLaunch", recorded, self._stream)

    def forget(self, recorded: ctypes.c_void_p) -> None:
        """Free recorded work."""
        self._call("cuGraphExecDestroy", recorded)

    def close(self) -> None:
        """Free the stream and release the GPU."""
        try:
            self._call("cuStreamDestroy_v2", self._stream)
        finally:
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)

    def _call(self, name: str, *arguments: object) -> None:
        """Call the driver. Raises BackendError with the driver's reason."""
        if self._lost:
            raise BackendError(self._lost)
        code = getattr(self._driver, name)(*arguments)
        if code == 0:
            return
        text = ctypes.c_char_p()
        self._driver.cuGetErrorString(code, ctypes.byref(text))
        reason = f"CUDA: {(text.value or b'unknown error').decode()} ({name}: {code})"
        if code in STICKY:
            self._lost = f"{reason}: the GPU is lost to this process: start the program again"
            raise BackendError(self._lost)
        raise BackendError(reason)


class DeviceBuffer:
    """Memory on the GPU that grows with what it must hold, and never shrinks."""

    def __init__(self, cuda: Cuda) -> None:
        """Hold nothing yet."""
        self._cuda = cuda
        self._size = 0
        self.address = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def reserve(self, size: int) -> int:
        """Return the address of at least `size` bytes; growing loses the content."""
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
