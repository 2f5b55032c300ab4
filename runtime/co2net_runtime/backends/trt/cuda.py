"""All that touches CUDA itself: memory, two streams, events, recorded launches.

By the driver's own library, which every machine with a GPU has: no CUDA package that must fit the
driver, and nothing to install on a Jetson. TensorRT computes in the same (primary) context.
"""

import ctypes
from collections.abc import Callable

from co2net_runtime.backends.device import LOST, STICKY, load_driver
from co2net_runtime.errors import BackendError, DeviceLostError


class CaptureError(BackendError):
    """CUDA cannot record these launches; they run all the same."""


STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1
# who waits for an event sleeps: by default a whole core spins meanwhile
EVENT_BLOCKING_SYNC, EVENT_DISABLE_TIMING = 1, 2
HOST_MEMORY_MAPPED = 2
# CUdevice_attribute: GPU and CPU share the memory, as on a Jetson
INTEGRATED = 18


class Cuda:
    """One GPU with a stream that computes, and one that brings inputs meanwhile."""

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
        self._context = ctypes.c_void_p()
        self._stream, self._uploads = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(self._device), device)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        try:
            self.activate()
            self.integrated = self._is_integrated()
            self._call("cuStreamCreate", ctypes.byref(self._stream), STREAM_NON_BLOCKING)
            self._call("cuStreamCreate", ctypes.byref(self._uploads), STREAM_NON_BLOCKING)
        except BackendError:
            if self._stream.value is not None:
                self._driver.cuStreamDestroy_v2(self._stream)
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)
            raise

    @property
    def stream(self) -> int:
        """The handle of the stream that computes."""
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

    def allocate_host(self, size: int) -> int:
        """Return the address of `size` new bytes that the GPU reads by itself, without the CPU.

        Where both share the memory, `device_address` tells how the GPU calls them.
        """
        address = ctypes.c_void_p()
        flags = HOST_MEMORY_MAPPED if self.integrated else 0
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), flags)
        return address.value or 0

    def device_address(self, host: int) -> int:
        """Return the GPU's address of memory of `allocate_host`."""
        address = ctypes.c_uint64()
        pointer = ctypes.c_void_p(host)
        self._call("cuMemHostGetDevicePointer_v2", ctypes.byref(address), pointer, 0)
        return address.value

    def free_host(self, host: int) -> None:
        """Free memory of `allocate_host`."""
        self._call("cuMemFreeHost", ctypes.c_void_p(host))

    def upload(self, address: int, host: int, size: int) -> None:
        """Copy to the GPU, beside what it computes."""
        to, source = ctypes.c_uint64(address), ctypes.c_void_p(host)
        self._call("cuMemcpyHtoDAsync_v2", to, source, ctypes.c_size_t(size), self._uploads)

    def download(self, host: int, address: int, size: int) -> None:
        """Copy from the GPU, once all computed before is done."""
        to, source = ctypes.c_void_p(host), ctypes.c_uint64(address)
        self._call("cuMemcpyDtoHAsync_v2", to, source, ctypes.c_size_t(size), self._stream)

    def new_event(self) -> ctypes.c_void_p:
        """Return a mark that can be set in a stream and waited for."""
        event = ctypes.c_void_p()
        flags = EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING
        self._call("cuEventCreate", ctypes.byref(event), flags)
        return event

    def compute_after_uploads(self, event: ctypes.c_void_p) -> None:
        """Let what is computed from now on wait for the uploads before; `event` is the mark."""
        self._call("cuEventRecord", event, self._uploads)
        self._call("cuStreamWaitEvent", self._stream, event, 0)

    def mark(self, event: ctypes.c_void_p) -> None:
        """Set the mark behind all that computes now."""
        self._call("cuEventRecord", event, self._stream)

    def wait(self, event: ctypes.c_void_p) -> None:
        """Wait until the GPU has come to a mark."""
        self._call("cuEventSynchronize", event)

    def forget_event(self, event: ctypes.c_void_p) -> None:
        """Free a mark."""
        self._call("cuEventDestroy_v2", event)

    def synchronize(self) -> None:
        """Wait for all that the streams hold."""
        self._call("cuStreamSynchronize", self._uploads)
        self._call("cuStreamSynchronize", self._stream)

    def record(self, work: Callable[[], None]) -> ctypes.c_void_p:
        """Return, ready to `launch`, what `work` puts into the stream; nothing of it runs now.

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
        """Free the streams and let go of the GPU."""
        try:
            self._call("cuStreamDestroy_v2", self._uploads)
            self._call("cuStreamDestroy_v2", self._stream)
        finally:
            self._driver.cuDevicePrimaryCtxRelease_v2(self._device)

    def _is_integrated(self) -> bool:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), INTEGRATED, self._device)
        return bool(value.value)

    def _call(self, name: str, *arguments: object) -> None:
        """Call the driver. Raises BackendError with the driver's reason."""
        if self._lost:
            raise DeviceLostError(self._lost)
        code = getattr(self._driver, name)(*arguments)
        if code == 0:
            return
        text = ctypes.c_char_p()
        self._driver.cuGetErrorString(code, ctypes.byref(text))
        reason = f"CUDA: {(text.value or b'unknown error').decode()} ({name}: {code})"
        if code in STICKY:
            self._lost = f"{reason}: {LOST}"
            raise DeviceLostError(self._lost)
        raise BackendError(reason)
