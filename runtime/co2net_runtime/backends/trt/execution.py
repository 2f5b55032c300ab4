"""One execution context of an engine with its memory: start it, then collect what it computed.

Two of them overlap: one gets its input while the other computes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.backends import Arrays
from co2net_runtime.backends.trt.api import Messages
from co2net_runtime.backends.trt.cuda import Cuda
from co2net_runtime.backends.trt.memory import DeviceBuffer, TensorMemory
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

Shapes = Mapping[str, tuple[int, ...]]


class Execution:
    """A context of one optimization profile; what it starts, the GPU does one after another."""

    def __init__(
        self,
        engine: "trt.ICudaEngine",
        profile: int,
        largest: Shapes,
        cuda: Cuda,
        scratch: DeviceBuffer,
        messages: Messages,
    ) -> None:
        """Create the context, and take all memory that it will ever need.

        Args:
            engine: The engine.
            profile: The number of the profile.
            largest: The largest shape of each input that will come.
            cuda: The GPU.
            scratch: Memory for activations, shared by all contexts.
            messages: What TensorRT says.

        Raises:
            BackendError: TensorRT refuses, or memory is short.
        """
        import tensorrt as trt

        self._cuda = cuda
        self._messages = messages
        self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._recorded: Any = None
        self._memory: dict[str, TensorMemory] = {}
        self._outputs: dict[str, tuple[int, ...]] = {}
        self._arrived, self._done = cuda.new_event(), cuda.new_event()
        try:
            strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
            create = engine.create_execution_context
            context = self._context = messages.ask("an execution context", create, strategy)
            size = engine.device_memory_size_v2
            if size:
                context.set_device_memory(scratch.reserve(size), size)
            choose = context.set_optimization_profile_async
            messages.ask("the profile", choose, profile, cuda.stream)
            cuda.synchronize()
            for name, shape in self._set_shapes(largest).items():
                dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
                self._memory[name] = TensorMemory(cuda, shape, dtype)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the inputs and outputs that it holds."""
        return sum(memory.size for memory in self._memory.values())

    def start(self, feeds: Arrays, shapes: Shapes, *, record: bool = False) -> None:
        """Let the GPU compute; `finish` before the next start.

        Args:
            feeds: Arrays by the name of the input.
            shapes: The shape of each input; features may be shorter, zeros follow them.
            record: Replay the engine as one recorded launch; all calls must have the same shapes.

        Raises:
            CaptureError: The launch cannot be recorded.
            BackendError: TensorRT or CUDA fails.
        """
        if self._recorded is None:
            self._bind(shapes)
        for name, shape in shapes.items():
            _fill(self._memory[name].array(shape), feeds[name])
            self._memory[name].upload(shape)
        if not self._cuda.integrated:
            self._cuda.compute_after_uploads(self._arrived)
        if record and self._recorded is None:
            # outside the recording once, where TensorRT settles what new shapes left open
            self._execute()
            self._cuda.synchronize()
            self._recorded = self._cuda.record(self._execute)
        if self._recorded is not None:
            self._cuda.launch(self._recorded)
        else:
            self._execute()
        for name, shape in self._outputs.items():
            self._memory[name].download(shape)
        self._cuda.mark(self._done)

    def finish(self) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs of what was started, once the GPU has computed them.

        Raises BackendError if CUDA fails.
        """
        self._cuda.wait(self._done)
        return {
            name: self._memory[name].array(shape).copy() for name, shape in self._outputs.items()
        }

    def close(self) -> None:
        """Free the recording and the memory."""
        if self._recorded is not None:
            recorded, self._recorded = self._recorded, None
            self._cuda.forget(recorded)
        while self._memory:
            self._memory.popitem()[1].free()
        for event in (self._arrived, self._done):
            if event.value is not None:
                self._cuda.forget_event(event)
                event.value = None

    def _set_shapes(self, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """Tell the context the shapes of the inputs; return those of all tensors, outputs last."""
        for name, shape in shapes.items():
            what = f"the shape {shape} of {name}"
            self._messages.ask(what, self._context.set_input_shape, name, shape)
        missing = self._messages.ask("the shapes", self._context.infer_shapes)
        if missing:
            raise BackendError(f"TensorRT wants shapes of {', '.join(missing)}, too")
        return {**shapes, **{name: self._shape(name) for name in self._names if name not in shapes}}

    def _shape(self, name: str) -> tuple[int, ...]:
        dims = self._context.get_tensor_shape(name)
        shape = tuple(dims[axis] for axis in range(len(dims)))
        if min(shape) < 0:
            raise BackendError(f"TensorRT leaves the shape {shape} of {name} open")
        return shape

    def _bind(self, shapes: Shapes) -> None:
        """Tell the context shapes, then addresses."""
        every = self._set_shapes(shapes)
        for name, memory in self._memory.items():
            what = f"the buffer of {name}"
            self._messages.ask(what, self._context.set_tensor_address, name, memory.address)
        self._outputs = {name: shape for name, shape in every.items() if name not in shapes}

    def _execute(self) -> None:
        self._messages.ask("the inference", self._context.execute_async_v3, self._cuda.stream)


def _fill(target: npt.NDArray[Any], array: npt.NDArray[Any]) -> None:
    """Write an array, with zeros behind its axis 1 where the target is longer there."""
    if target.shape != array.shape:
        target[:, array.shape[1] :] = 0
        target = target[:, : array.shape[1]]
    np.copyto(target, array, casting="same_kind")
