"""All that touches CUDA itself: memory, one stream, recorded launches; by cuda-python."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from co2net_runtime.errors import BackendError, MissingDependencyError

if TYPE_CHECKING:
    from cuda.bindings import runtime

Value = TypeVar("Value")


class Cuda:
    """One GPU and one stream on it."""

    def __init__(self, device: int) -> None:
        """Use GPU number `device`.

        Raises MissingDependencyError without cuda-python (12.6.1 or later), BackendError if CUDA
        refuses.
        """
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise MissingDependencyError("cuda-python", "tensorrt", "running an engine") from error
        self._runtime = runtime
        self._device = device
        self.activate()
        self._stream = self._value(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)

    def activate(self) -> None:
        """Make the GPU the calling thread's: CUDA keeps the current device per thread."""
        self._check(*self._runtime.cudaSetDevice(self._device))

    def allocate(self, size: int) -> int:
        """Return the address of `size` new bytes on the GPU."""
        return int(self._value(self._runtime.cudaMalloc(size)))

    def free(self, address: int) -> None:
        """Free memory that `allocate` returned."""
        self._check(*self._runtime.cudaFree(address))

    def copy_in(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copy a C-contiguous array to the GPU, in the stream."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        source, size = array.ctypes.data, array.nbytes
        self._check(*self._runtime.cudaMemcpyAsync(address, source, size, kind, self._stream))

    def copy_out(self, array: npt.NDArray[Any], address: int) -> None:
        """Fill a C-contiguous array from the GPU, in the stream: `synchronize` before use."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        to, size = array.ctypes.data, array.nbytes
        self._check(*self._runtime.cudaMemcpyAsync(to, address, size, kind, self._stream))

    def synchronize(self) -> None:
        """Wait for all that the stream holds."""
        self._check(*self._runtime.cudaStreamSynchronize(self._stream))

    def record(self, work: Callable[[], None]) -> "runtime.cudaGraphExec_t":
        """Return, ready to `launch`, what `work` puts into the stream; nothing of it runs now."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check(*self._runtime.cudaStreamBeginCapture(self._stream, mode))
        try:
            work()
        except BaseException:
            # a stream left in capture would refuse every later call
            self._runtime.cudaStreamEndCapture(self._stream)
            raise
        graph = self._value(self._runtime.cudaStreamEndCapture(self._stream))
        try:
            return self._value(self._runtime.cudaGraphInstantiate(graph, 0))
        finally:
            self._check(*self._runtime.cudaGraphDestroy(graph))

    def launch(self, recorded: "runtime.cudaGraphExec_t") -> None:
        """Put recorded work into the stream."""
        self._check(*self._runtime.cudaGraphLaunch(recorded, self._stream))

    def forget(self, recorded: "runtime.cudaGraphExec_t") -> None:
        """Free recorded work."""
        self._check(*self._runtime.cudaGraphExecDestroy(recorded))

    def close(self) -> None:
        """Free the stream."""
        self._check(*self._runtime.cudaStreamDestroy(self._stream))

    def _value(self, result: "tuple[runtime.cudaError_t, Value]") -> Value:
        """Return a call's result besides its error code."""
        error, value = result
        self._check(error)
        return value

    def _check(self, error: "runtime.cudaError_t") -> None:
        if error != self._runtime.cudaError_t.cudaSuccess:
            _, text = self._runtime.cudaGetErrorString(error)
            raise BackendError(f"CUDA: {text.decode()}")


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
