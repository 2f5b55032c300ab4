# ruff: noqa: ARG002  # the calls take what the real ones take
"""cuda-python's runtime: memory, one kind of stream, recorded launches.

Work put into the stream is done when the stream is synchronized, not before, and memory that
nobody has written holds NaN.
"""

import ctypes
import enum
import threading
import types

POISON = 0xFF  # as float32, NaN


class ContractBreach(AssertionError):
    """The caller did what TensorRT or CUDA leaves undefined."""


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
