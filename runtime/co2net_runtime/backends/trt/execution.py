"""One execution context of an engine with its buffers: run it, or record it once and replay it."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.backends import Arrays
from co2net_runtime.backends.trt.api import Messages
from co2net_runtime.backends.trt.cuda import Cuda, DeviceBuffer
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt


class Execution:
    """A context of one optimization profile. Only one of an engine's contexts may run at a time."""

    def __init__(
        self,
        engine: "trt.ICudaEngine",
        profile: int,
        cuda: Cuda,
        scratch: DeviceBuffer,
        messages: Messages,
    ) -> None:
        """Create the context. scratch: memory for activations, shared by all contexts.

        Raises BackendError if TensorRT refuses or memory is short.
        """
        import tensorrt as trt

        self._cuda = cuda
        self._messages = messages
        self._recorded: Any = None
        self._outputs: dict[str, tuple[int, ...]] = {}
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = messages.ask("an execution context", engine.create_execution_context, strategy)
        self._context = context
        size = engine.device_memory_size_v2
        if size:
            context.set_device_memory(scratch.reserve(size), size)
        messages.ask("the profile", context.set_optimization_profile_async, profile, cuda.stream)
        cuda.synchronize()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._inputs = [
            name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        ]
        self._dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self._buffers = {name: DeviceBuffer(cuda) for name in names}

    def run(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the engine on arrays of any shape within the profile.

        Raises BackendError if TensorRT or CUDA fails.
        """
        outputs = self._bind(feeds)
        sources = self._copy_in(feeds)
        self._execute()
        return self._copy_out(outputs, sources)

    def replay(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the engine as one recorded launch; all calls must bring arrays of the same shapes.

        Raises CaptureError if the launch cannot be recorded, BackendError if TensorRT or CUDA
        fails.
        """
        if self._recorded is None:
            self._outputs = self._bind(feeds)
            self._copy_in(feeds)
            # outside the recording once, where TensorRT settles what new shapes left open
            self._execute()
            self._cuda.synchronize()
            self._recorded = self._cuda.record(self._execute)
        sources = self._copy_in(feeds)
        self._cuda.launch(self._recorded)
        return self._copy_out(self._outputs, sources)

    @property
    def size(self) -> int:
        """Bytes of its buffers on the GPU."""
        return sum(buffer.size for buffer in self._buffers.values())

    def close(self) -> None:
        """Free the recording and the buffers."""
        if self._recorded is not None:
            recorded, self._recorded = self._recorded, None
            self._cuda.forget(recorded)
        for buffer in self._buffers.values():
            buffer.free()

    def _bind(self, feeds: Arrays) -> dict[str, tuple[int, ...]]:
        """Tell the context shapes, then addresses; return the shapes of the outputs."""
        for name in self._inputs:
            shape = feeds[name].shape
            what = f"the shape {shape} of {name}"
            self._messages.ask(what, self._context.set_input_shape, name, shape)
        missing = self._messages.ask("the shapes", self._context.infer_shapes)
        if missing:
            raise BackendError(f"TensorRT wants shapes of {', '.join(missing)}, too")
        outputs = {}
        for name, buffer in self._buffers.items():
            dims = self._context.get_tensor_shape(name)
            shape = tuple(dims[axis] for axis in range(len(dims)))
            if min(shape) < 0:
                raise BackendError(f"TensorRT leaves the shape {shape} of {name} open")
            address = buffer.reserve(max(1, math.prod(shape)) * self._dtypes[name].itemsize)
            what = f"the buffer of {name}"
            self._messages.ask(what, self._context.set_tensor_address, name, address)
            if name not in self._inputs:
                outputs[name] = shape
        return outputs

    def _copy_in(self, feeds: Arrays) -> list[npt.NDArray[Any]]:
        """Start copying; the arrays returned must live until the stream is synchronized."""
        sources = []
        for name in self._inputs:
            source = np.ascontiguousarray(feeds[name], dtype=self._dtypes[name])
            self._cuda.copy_in(self._buffers[name].address, source)
            sources.append(source)
        return sources

    def _execute(self) -> None:
        self._messages.ask("the inference", self._context.execute_async_v3, self._cuda.stream)

    def _copy_out(
        self, shapes: dict[str, tuple[int, ...]], sources: list[npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs once the stream has done all; `sources` are what it still reads."""
        outputs = {name: np.empty(shape, self._dtypes[name]) for name, shape in shapes.items()}
        for name, array in outputs.items():
            self._cuda.copy_out(array, self._buffers[name].address)
        self._cuda.synchronize()
        sources.clear()
        return outputs
