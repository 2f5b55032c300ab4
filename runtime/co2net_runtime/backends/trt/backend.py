"""TensorRT without ONNX Runtime: an engine, and the execution contexts that run it."""

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from co2net_runtime.artefact.backbone import CLIPS_INPUT, BackboneContract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Arrays, EngineInfo, EngineOptions, run_failed
from co2net_runtime.backends.buckets import bucket
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.trt import profiles as trt_profiles
from co2net_runtime.backends.trt.api import Messages
from co2net_runtime.backends.trt.cache import (
    EngineRecord,
    Target,
    cached_engine,
    contract_of,
    here,
    read_any_contract,
    read_engine,
)
from co2net_runtime.backends.trt.cuda import CaptureError, Cuda
from co2net_runtime.backends.trt.execution import Execution, Shapes
from co2net_runtime.backends.trt.layers import summary
from co2net_runtime.backends.trt.memory import DeviceBuffer
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions, input_shapes
from co2net_runtime.errors import BackendError, DeviceLostError, InputError

if TYPE_CHECKING:
    import tensorrt as trt

# (profile, 0 or 1, the shapes where launches are recorded)
Key = tuple[int, int, tuple[tuple[int, ...], ...]]

# batches on the GPU at once: one computes, the other one arrives
IN_FLIGHT = 2

logger = logging.getLogger(__name__)

# memory of the buffers of recorded launches; the one unused for longest goes first
MAX_RECORDED_BYTES = 256 << 20


def open_tensorrt(
    path: str | os.PathLike[str], device: Device, options: EngineOptions
) -> "TensorRtBackend":
    """Open an engine built ahead of time, or an ONNX file by way of the engine cache.

    Raises what `read_engine` and `cached_engine` raise, MissingDependencyError without TensorRT.
    """
    target = here(device)
    cuda = Cuda(device.index)
    build = options.tensorrt
    try:
        if Path(path).suffix == ".engine":
            fixed = TensorRtOptions(cuda_graphs=build.cuda_graphs)
            if build != fixed or options.tf32:
                raise InputError(f"{path}: profiles and other build options are fixed in an engine")
            engine, record = read_engine(Path(path), target)
        else:
            if isinstance(read_any_contract(path), BackboneContract):
                options = replace(options, tensorrt=trt_profiles.for_clips(build))
            engine, record = cached_engine(path, options, target)
        return TensorRtBackend(engine, record, target, cuda, cuda_graphs=build.cuda_graphs)
    except BaseException:
        with contextlib.suppress(BackendError):
            cuda.close()
        raise


class TensorRtBackend:
    """One engine. `infer` may be called from several threads; they take turns."""

    def __init__(
        self,
        engine: bytes,
        record: EngineRecord,
        target: Target,
        cuda: Cuda,
        *,
        cuda_graphs: bool = False,
    ) -> None:
        """Load the engine on the GPU of `cuda`, which belongs to the backend from now on.

        cuda_graphs: pad each video to one of few lengths and replay one recorded launch.

        Raises BackendError if TensorRT refuses the engine.
        """
        import tensorrt as trt

        self._record = record
        self._contract = contract_of(record, "the engine's sidecar")
        self._cuda = cuda
        self._graphs = cuda_graphs
        self._lock = threading.Lock()
        self._messages = Messages()
        self._runtime = self._messages.start(trt.Runtime)  # it must outlive the engine
        if record.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine: trt.ICudaEngine | None = self._messages.ask(
            "the engine", self._runtime.deserialize_cuda_engine, engine
        )
        with self._messages.guard("the engine"):
            self._profiles = _profiles(self._engine, self._contract)
        self._scratch = DeviceBuffer(cuda)
        self._executions: dict[Key, Execution] = {}
        self._info = EngineInfo(
            engine="tensorrt",
            version=target.tensorrt,
            provider="TensorRT",
            device=f"cuda:{target.gpu.index}",
            precision=self._contract.precision,
            device_name=target.gpu.name,
        )

    @property
    def contract(self) -> Any:
        """The contract of the model's file, a `Contract` or a `BackboneContract`."""
        return self._contract

    @property
    def info(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self._info

    @property
    def record(self) -> EngineRecord:
        """The engine file's record."""
        return self._record

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The shapes that the engine takes."""
        return self._profiles

    @property
    def max_length(self) -> int | None:
        """The longest video that a profile takes."""
        return max(profile.length[2] for profile in self._profiles)

    def max_batch(self, length: int) -> int | None:
        """Return the largest batch that a profile takes for videos of T = `length`.

        Raises BackendError if none takes that length.
        """
        return trt_profiles.max_batch(self._profiles, length)

    @property
    def layers(self) -> str:
        """How many layers compute in which type, as the engine's record has it."""
        return summary(self._record.layers)

    def infer(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the engine: input arrays by name -> output arrays by name.

        Raises BackendError if the shape is in no profile, the engine fails, or it is closed.
        """
        (outputs,) = self.infer_each([feeds])
        return outputs

    def infer_each(self, batches: Iterable[Arrays]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield the outputs of each batch: while one computes, the next one arrives.

        Other threads wait until it is taken to its end. Raises BackendError as `infer` does, and
        what `batches` raises.
        """
        running: deque[tuple[Arrays, Execution]] = deque()
        with self._lock:
            if self._engine is None:
                raise BackendError("the model is closed")
            try:
                for number, feeds in enumerate(batches):
                    if len(running) == IN_FLIGHT:
                        yield self._finish(*running.popleft())
                    running.append((feeds, self._start(self._engine, feeds, number % IN_FLIGHT)))
                while running:
                    yield self._finish(*running.popleft())
            except BaseException:
                # the next video gets clean contexts and the memory that these held
                self._start_afresh()
                raise

    def close(self) -> None:
        """Free the engine and its memory."""
        with self._lock:
            if self._engine is not None:
                with contextlib.suppress(BackendError):  # of a GPU that is lost
                    self._cuda.activate()
                    self._forget_executions()
                self._engine = None
                with contextlib.suppress(BackendError):
                    self._cuda.close()

    def _start(self, engine: "trt.ICudaEngine", feeds: Arrays, slot: int) -> Execution:
        clips = feeds.get(CLIPS_INPUT)
        batch, length = feeds["features"].shape[:2] if clips is None else (len(clips), 1)
        profile = trt_profiles.choose(self._profiles, batch, length)
        try:
            self._cuda.activate()
            with self._messages.guard("the inference"):
                if self._graphs:
                    padded = min(bucket(length), self._profiles[profile].length[2])
                    if execution := self._replay(engine, profile, slot, feeds, batch, padded):
                        return execution
                execution = self._execution(engine, (profile, slot, ()), self._largest(profile))
                execution.start(feeds, input_shapes(self._contract, batch, length))
                return execution
        except DeviceLostError:
            raise
        except BackendError as error:
            raise run_failed("TensorRT", str(error), feeds) from error

    def _replay(
        self,
        engine: "trt.ICudaEngine",
        profile: int,
        slot: int,
        feeds: Arrays,
        batch: int,
        length: int,
    ) -> Execution | None:
        """Start a recorded launch; None where it cannot be recorded."""
        shapes = input_shapes(self._contract, batch, length)
        key = profile, slot, tuple(shapes.values())
        try:
            execution = self._execution(engine, key, shapes)
            execution.start(feeds, shapes, record=True)
            return execution
        except CaptureError as error:
            logger.warning("%s: launches are not recorded, the network runs without", error)
            self._graphs = False
            self._cuda.synchronize()
            self._executions.pop(key).close()
            return None

    def _finish(self, feeds: Arrays, execution: Execution) -> dict[str, npt.NDArray[Any]]:
        try:
            outputs = execution.finish()
        except DeviceLostError:
            raise
        except BackendError as error:
            raise run_failed("TensorRT", str(error), feeds) from error
        if CLIPS_INPUT in feeds:
            return outputs
        length = feeds["features"].shape[1]  # what was recorded computes a longer one
        return {name: array[:, :length] for name, array in outputs.items()}

    def _largest(self, profile: int) -> Shapes:
        greatest = self._profiles[profile]
        return input_shapes(self._contract, greatest.batch[2], greatest.length[2])

    def _start_afresh(self) -> None:
        with contextlib.suppress(BackendError):
            self._cuda.activate()  # whoever gives up half way may do so in another thread
            self._cuda.synchronize()  # of what was begun, nothing may run any more
        with contextlib.suppress(BackendError):
            self._forget_executions()

    def _execution(self, engine: "trt.ICudaEngine", key: Key, largest: Shapes) -> Execution:
        """Return the context of a profile, or of shapes in it where launches are recorded."""
        execution = self._executions.pop(key, None)
        if execution is None:
            if self._graphs and self._held() > MAX_RECORDED_BYTES:
                self._cuda.synchronize()
                while self._held() > MAX_RECORDED_BYTES:
                    self._executions.pop(next(iter(self._executions))).close()
            execution = Execution(
                engine, key[0], largest, self._cuda, self._scratch, self._messages
            )
        self._executions[key] = execution
        return execution

    def _held(self) -> int:
        return sum(one.size for one in self._executions.values())

    def _forget_executions(self) -> None:
        while self._executions:
            self._executions.popitem()[1].close()
        self._scratch.free()

    def __enter__(self) -> "TensorRtBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _profiles(
    engine: "trt.ICudaEngine", contract: Contract | BackboneContract
) -> tuple[Profile, ...]:
    """Return the engine's own profiles, once its tensors are seen to be the contract's."""
    import tensorrt as trt

    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    wanted = (*input_shapes(contract, 1, 1), *contract.outputs)
    if set(names) != set(wanted):
        raise InputError(
            f"the engine has the tensors {', '.join(names)}, the contract beside it names "
            f"{', '.join(wanted)}: build it again"
        )
    on_host = [n for n in names if engine.get_tensor_location(n) != trt.TensorLocation.DEVICE]
    if on_host:
        raise BackendError(f"TensorRT wants {', '.join(on_host)} in host memory, which is not done")
    profiles = []
    for index in range(engine.num_optimization_profiles):
        if isinstance(contract, BackboneContract):
            low, best, high = engine.get_tensor_profile_shape(CLIPS_INPUT, index)
            profiles.append(Profile((low[0], best[0], high[0]), (1, 1, 1)))
        else:
            low, best, high = engine.get_tensor_profile_shape("features", index)
            profiles.append(Profile((low[0], best[0], high[0]), (low[1], best[1], high[1])))
    return tuple(profiles)
