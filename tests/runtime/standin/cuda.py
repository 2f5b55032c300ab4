# ruff: noqa: ARG002  # the calls take what the real ones take
"""The CUDA driver's calls: memory, streams, events, recorded launches, and a clock.

Work put into a stream is done when somebody waits for it, not before, and memory that nobody has
written holds NaN. Copies to and from pinned memory happen when the stream comes to them; from
pageable memory, at once. Numbers are wide enough for the real library only as ctypes objects:
a bare int of 64 bits would be cut.
"""

import collections
import ctypes
import threading

POISON = 0xFF  # as float32, NaN

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, INVALID_HANDLE = 0, 1, 2, 400
ILLEGAL_ADDRESS, CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 700, 900, 901

TEXTS = {
    OUT_OF_MEMORY: b"out of memory",
    ILLEGAL_ADDRESS: b"an illegal memory access was encountered",
    CAPTURE_UNSUPPORTED: b"operation not permitted when stream is capturing",
    CAPTURE_INVALIDATED: b"operation failed due to a previous error during capture",
}


class ContractBreach(AssertionError):
    """The caller did what TensorRT or CUDA leaves undefined."""


# what work takes on the stand-in's clock
COST = {"upload": 1, "compute": 2, "download": 0}


class Stream:
    """Holds work until somebody waits for it, or records it; each piece has its time."""

    def __init__(self, handle, cuda):
        self.handle = handle
        self.pending = collections.deque()
        self.recording = None
        self.invalid = False
        self.time = 0
        self._cuda = cuda

    def put(self, kind, work):
        """Add work that takes COST[kind] from now on, or from when the stream is free."""
        if self.recording is not None:
            self.recording.append((kind, work))
        else:
            self.pending.append((kind, work, self._cuda.time))

    def step(self):
        kind, work, at = self.pending.popleft()
        if kind in COST:
            start = max(self.time, at)
            self.time = start + COST[kind]
            self._cuda.history.append((kind, start, self.time))
        work()

    def finish(self):
        while self.pending:
            self.step()


class Event:
    """A mark in a stream."""

    def __init__(self):
        self.stream = None
        self.reached = True
        self.time = 0

    def record(self, stream):
        self.stream, self.reached = stream, False
        stream.put("mark", self._reach)

    def _reach(self):
        self.reached, self.time = True, self.stream.time

    def wait(self):
        while not self.reached:
            self.stream.step()


class Cuda:
    """libcuda.so.1 as ctypes sees it; each call returns a CUresult."""

    def __init__(self, memory_bytes):
        self.memory_bytes = memory_bytes
        self.blocks = {}
        self.pinned = {}
        self.streams = {}
        self.events = {}
        self.integrated = False  # a Jetson
        self.time = 0  # of the thread that calls
        self.history = []  # (kind, start, end) of the work done
        self.graphs = {}
        self.recorded = {}
        self.contexts = 0
        self.launches = self.recordings = 0
        self.sticky = SUCCESS  # set it, and every later call fails
        self.fail_instantiate = SUCCESS
        self._next = 0x7000_0000_0000
        self._handles = 0x5000_0000_0000
        self._thread = threading.local()

    def block(self, address, size):
        """Return the memory at an address of the GPU's."""
        if address not in self.blocks:
            raise ContractBreach(f"address {address:#x} is not allocated")
        if size > len(self.blocks[address]):
            raise ContractBreach(f"{size} bytes in a buffer of {len(self.blocks[address])}")
        return self.blocks[address]

    def require_context(self):
        if getattr(self._thread, "context", None) is None:
            raise ContractBreach("cuCtxSetCurrent was not called in this thread")

    def stream(self, handle):
        if handle not in self.streams:
            raise ContractBreach(f"no stream with handle {handle!r}")
        return self.streams[handle]

    def _handle(self):
        self._handles += 16
        return self._handles

    def cuGetErrorString(self, code, text):
        text._obj.value = TEXTS.get(code, b"invalid argument")
        return SUCCESS

    def cuDevicePrimaryCtxRetain(self, context, device):
        context._obj.value = 0x1000
        self.contexts += 1
        return SUCCESS

    def cuDevicePrimaryCtxRelease_v2(self, device):
        self.contexts -= 1
        return SUCCESS

    def cuCtxSetCurrent(self, context):
        self._thread.context = context.value
        return self.sticky

    def cuMemAlloc_v2(self, address, size):
        self.require_context()
        if any(stream.recording is not None for stream in self.streams.values()):
            raise ContractBreach("cuMemAlloc while a launch is recorded")
        if sum(map(len, self.blocks.values())) + size.value > self.memory_bytes:
            return OUT_OF_MEMORY
        address._obj.value = self._next
        self._next += (size.value + 511) // 512 * 512 + 512
        self.blocks[address._obj.value] = bytearray([POISON]) * size.value
        return self.sticky

    def cuMemFree_v2(self, address):
        self.require_context()
        self.block(address.value, 0)
        self._require_idle("cuMemFree")
        del self.blocks[address.value]
        return self.sticky

    def cuMemHostAlloc(self, address, size, flags):
        self.require_context()
        memory = ctypes.create_string_buffer(bytes([POISON]) * size.value, size.value)
        address._obj.value = ctypes.addressof(memory)
        self.pinned[address._obj.value] = memory
        if flags & 2:  # mapped
            self.blocks[address._obj.value ^ 1 << 46] = memoryview(memory).cast("B")
        return self.sticky

    def cuMemHostGetDevicePointer_v2(self, address, host, flags):
        address._obj.value = host.value ^ 1 << 46
        self.block(address._obj.value, 0)
        return self.sticky

    def cuMemFreeHost(self, host):
        self.require_context()
        self._require_idle("cuMemFreeHost")
        del self.pinned[host.value]
        self.blocks.pop(host.value ^ 1 << 46, None)
        return self.sticky

    def _require_idle(self, name):
        if any(stream.pending for stream in self.streams.values()):
            raise ContractBreach(f"{name} while a stream holds work")

    def cuMemcpyHtoDAsync_v2(self, to, source, size, stream):
        self.require_context()
        stream = self.stream(stream.value)
        if stream.recording is not None:
            return CAPTURE_UNSUPPORTED
        count, target = size.value, self.block(to.value, size.value)
        if source.value in self.pinned:
            pointer = source.value

            def copy():
                target[:count] = ctypes.string_at(pointer, count)

        else:  # pageable memory is staged before the return
            data = ctypes.string_at(source.value, count)

            def copy():
                target[:count] = data

        stream.put("upload", copy)
        return self.sticky

    def cuMemcpyDtoHAsync_v2(self, to, source, size, stream):
        self.require_context()
        stream = self.stream(stream.value)
        if stream.recording is not None:
            return CAPTURE_UNSUPPORTED
        block, address, count = self.block(source.value, size.value), to.value, size.value
        stream.put("download", lambda: ctypes.memmove(address, bytes(block[:count]), count))
        return self.sticky

    def cuEventCreate(self, event, flags):
        self.require_context()
        assert flags == 3  # who waits sleeps; no times
        event._obj.value = self._handle()
        self.events[event._obj.value] = Event()
        return self.sticky

    def cuEventRecord(self, event, stream):
        stream = self.stream(stream.value)
        if stream.recording is not None:
            return CAPTURE_UNSUPPORTED
        self.events[event.value].record(stream)
        return self.sticky

    def cuStreamWaitEvent(self, stream, event, flags):
        stream, event = self.stream(stream.value), self.events[event.value]

        def wait():
            event.wait()
            stream.time = max(stream.time, event.time)

        stream.put("wait", wait)
        return self.sticky

    def cuEventSynchronize(self, event):
        self.require_context()
        event = self.events[event.value]
        event.wait()
        self.time = max(self.time, event.time)
        return self.sticky

    def cuEventDestroy_v2(self, event):
        del self.events[event.value]
        return self.sticky

    def cuStreamCreate(self, stream, flags):
        self.require_context()
        assert flags == 1
        stream._obj.value = self._handle()
        self.streams[stream._obj.value] = Stream(stream._obj.value, self)
        return self.sticky

    def cuStreamDestroy_v2(self, stream):
        del self.streams[stream.value]
        return self.sticky

    def cuStreamSynchronize(self, stream):
        self.require_context()
        stream = self.stream(stream.value)
        if stream.recording is not None:
            stream.invalid = True
            return CAPTURE_UNSUPPORTED
        stream.finish()
        self.time = max(self.time, stream.time)
        return self.sticky

    def cuStreamBeginCapture_v2(self, stream, mode):
        stream = self.stream(stream.value)
        if stream.recording is not None:
            return INVALID_VALUE
        if stream.pending:
            raise ContractBreach("recording while the stream holds work")
        stream.recording = []
        return self.sticky

    def cuStreamEndCapture(self, stream, graph):
        stream = self.stream(stream.value)
        if stream.recording is None:
            return INVALID_VALUE
        work, stream.recording = tuple(stream.recording), None
        invalid, stream.invalid = stream.invalid, False
        if invalid:
            return CAPTURE_INVALIDATED
        graph._obj.value = self._handle()
        self.graphs[graph._obj.value] = work
        return self.sticky

    def cuGraphInstantiateWithFlags(self, recorded, graph, flags):
        if self.fail_instantiate:
            return self.fail_instantiate
        self.recordings += 1
        recorded._obj.value = self._handle()
        self.recorded[recorded._obj.value] = self.graphs[graph.value]
        return self.sticky

    def cuGraphDestroy(self, graph):
        if graph.value is not None:
            del self.graphs[graph.value]
        return SUCCESS

    def cuGraphLaunch(self, recorded, stream):
        self.require_context()
        if recorded.value not in self.recorded:
            raise ContractBreach("launch of a destroyed recording")
        self.launches += 1
        for kind, work in self.recorded[recorded.value]:
            self.stream(stream.value).put(kind, work)
        return self.sticky

    def cuGraphExecDestroy(self, recorded):
        del self.recorded[recorded.value]
        return self.sticky
