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
        context: trt.IExecutionContext | None = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None:
            raise BackendError(f"no execution context: {messages.take()}")
        self._context = context
        size = engine.device_memory_size_v2
        if size:
            context.set_device_memory(scratch.reserve(size), size)
        self._require(context.set_optimization_profile_async(profile, cuda.stream), "the profile")
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

        Raises BackendError if TensorRT or CUDA fails.
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
            self._require(
                self._context.set_input_shape(name, shape), f"the shape {shape} of {name}"
            )
        missing = self._context.infer_shapes()
        self._require(not missing, f"no shape for {', '.join(missing)}")
        outputs = {}
        for name, buffer in self._buffers.items():
            dims = self._context.get_tensor_shape(name)
            shape = tuple(dims[axis] for axis in range(len(dims)))
            self._require(min(shape) >= 0, f"the shape {shape} of {name}")
            address = buffer.reserve(max(1, math.prod(shape)) * self._dtypes[name].itemsize)
            self._require(self._context.set_tensor_address(name, address), f"the buffer of {name}")
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
        self._require(self._context.execute_async_v3(self._cuda.stream), "the inference")

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

    def _require(self, success: bool, what: str) -> None:
        """Raise what TensorRT logged if one of its calls returned False."""
        if not success:
            raise BackendError(f"{what} is refused: {self._messages.take()}")
