"""OpenVINO, on a CPU or an Intel GPU, without ONNX Runtime."""

import contextlib
import functools
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Generic

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import MIN_ROWS_NAME, NEVER
from co2net_runtime.artefact.onnx_file import weight_files
from co2net_runtime.backends import AnyContract, Arrays, EngineInfo, EngineOptions, run_failed
from co2net_runtime.backends.device import Device
from co2net_runtime.errors import BackendError, MissingDependencyError
from co2net_runtime.files.cache import cache_folder, unusable
from co2net_runtime.files.digest import begin_sha256

logger = logging.getLogger(__name__)

# the element types that OpenVINO calls what it computes in
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class OpenVinoBackend(Generic[AnyContract]):
    """An ONNX file opened in OpenVINO. `infer` may be called from several threads."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        contract: AnyContract,
        device: Device,
        options: EngineOptions,
    ) -> None:
        """Compile the file.

        Args:
            path: An ONNX file.
            contract: Of the file.
            device: "cpu", or "gpu" for Intel's.
            options: How to run it; `threads`, `bf16` and the cache folder matter here.

        Raises:
            MissingDependencyError: openvino is not installed.
            BackendError: OpenVINO refuses the model, or the device lacks what was asked for.
        """
        self._contract = contract
        openvino = load_openvino()
        core = _core()
        name = _device_name(device)
        _require_device(core, name, device)
        if options.bf16 and "BF16" not in core.get_property(name, "OPTIMIZATION_CAPABILITIES"):
            raise BackendError(f"this {_full_name(core, name)} does not compute in bfloat16")
        config: dict[str, Any] = {
            # its default is whatever is fastest: bfloat16 on some CPUs, float16 on GPUs
            "INFERENCE_PRECISION_HINT": "bf16" if options.bf16 else "f32",
            "EXECUTION_MODE_HINT": "PERFORMANCE" if options.bf16 else "ACCURACY",
            "PERFORMANCE_HINT": "LATENCY",
            **_cache_config(path, options.cache),
        }
        if device.kind == "cpu" and options.threads is not None:
            config["INFERENCE_NUM_THREADS"] = options.threads
        try:
            with _in_one_folder(path) as file:
                # by name it is not even read where the compiled one is kept; but the cache's key
                # then holds the name, and that of a temporary file is another one each time
                two_forms = contract.optimize == "cpu"
                by_name = file == Path(path) and not two_forms
                model = os.fspath(file) if by_name else core.read_model(file)
                if two_forms:
                    _take_plain_form(model)
                self._model: Any = core.compile_model(model, name, config)
        except RuntimeError as error:
            raise BackendError(f"{path}: OpenVINO refuses it: {_reason(error)}") from error
        self._local = threading.local()
        computed = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._info = EngineInfo(
            engine="openvino",
            version=openvino.__version__.partition("-")[0],
            provider="OpenVINO",
            device=str(device),
            precision=_precision(self._contract.precision, _NAMES.get(computed, computed)),
            device_name=_full_name(core, name),
        )

    @property
    def contract(self) -> AnyContract:
        """The contract of the model's file."""
        return self._contract

    @property
    def info(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self._info

    @property
    def max_length(self) -> int | None:
        """No limit."""
        return None

    def max_batch(self, length: int) -> int | None:  # noqa: ARG002 the protocol's signature
        """No limit."""
        return None

    @property
    def layers(self) -> str:
        """Nothing: OpenVINO is not asked."""
        return ""

    def infer(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph: input arrays by name -> output arrays by name.

        Raises:
            BackendError: OpenVINO fails, or the backend is closed.
        """
        model = self._model  # a thread that closes the backend does not pull it away
        if model is None:
            raise BackendError("the model is closed")
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = model.create_infer_request()
        try:
            # sharing always: a request that has shared once takes no larger copied input later
            outputs = request.infer(
                {name: np.ascontiguousarray(array) for name, array in feeds.items()},
                share_inputs=True,
            )
        except RuntimeError as error:
            raise run_failed("OpenVINO", _reason(error), feeds) from error
        # the request's memory is used again by the next call
        return {name: np.array(outputs[name]) for name in self._contract.outputs}

    def infer_each(self, batches: Iterable[Arrays]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield what `infer` returns for each batch."""
        return map(self.infer, batches)

    def close(self) -> None:
        """Free the model."""
        self._model = None
        self._local = threading.local()

    def __enter__(self) -> "OpenVinoBackend[AnyContract]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_openvino() -> Any:
    """Import openvino with its telemetry off.

    Raises MissingDependencyError where it is not installed.
    """
    try:
        with _no_telemetry():
            import openvino
    except ImportError as error:
        raise MissingDependencyError("openvino", "openvino", "the backend openvino") from error
    return openvino


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Hide openvino_telemetry: importing openvino would write ids under ~/intel and call its maker.

    OpenVINO has a stub for where that package is not installed, and no variable to turn it off.
    """
    name = "openvino_telemetry"
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


@functools.cache
def _core() -> Any:
    """Return the process's OpenVINO core.

    One for all models: each core's CPU plugin installs a signal stack of its own, and of several
    that come and go the last one leaves a freed stack behind (seen with 2026.4): the next signal,
    a Ctrl-C for one, then ends the process with a segmentation fault.
    """
    return load_openvino().Core()


def _cache_config(
    path: str | os.PathLike[str], cache: str | os.PathLike[str] | None
) -> dict[str, str]:
    """Return where the compiled model is kept, by the file's content.

    OpenVINO's own key for a file is its name, size and time.
    """
    folder = cache_folder(cache) / "openvino" / begin_sha256(path)()[:32]
    if problem := unusable(folder):
        logger.warning("%s: %s: the model is compiled at each start", folder, problem)
        return {}
    return {"CACHE_DIR": str(folder)}


@contextlib.contextmanager
def _in_one_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the model's file with its weights' files beside it.

    OpenVINO refuses weights that symbolic links lead out of the folder to, as in the cache of
    Hugging Face. There the real files are given their names in a temporary folder.
    """
    file = Path(path)
    folder = file.parent.resolve()
    names = sorted(weight_files(file))
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in names)
    real = [(folder / name).resolve() for name in names]
    # what is missing, or named outside the folder by the graph itself, OpenVINO refuses in words
    if all(one.is_relative_to(folder) for one in real) or not inside:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="co2net-") as gathered:
        for name, source in zip([file.name, *names], [file.resolve(), *real], strict=True):
            target = Path(gathered, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(source)
            except OSError:  # on another disk, or of another owner
                shutil.copyfile(source, target)
        yield Path(gathered, file.name)


def _take_plain_form(model: Any) -> None:
    """Let a model optimized for CPUs never choose its fast form.

    OpenVINO 2026.4 computes the first snippet wrongly there (cas off by 0.4).
    """
    from openvino import opset8

    never = opset8.constant(np.int64(NEVER)).output(0)
    for operator in model.get_ops():
        if operator.get_friendly_name() == MIN_ROWS_NAME:
            for reader in operator.output(0).get_target_inputs():
                reader.replace_source_output(never)


def _device_name(device: Device) -> str:
    if device.kind == "gpu" and device.index:
        return f"GPU.{device.index}"
    return device.kind.upper()


def _require_device(core: Any, name: str, device: Device) -> None:
    available = core.available_devices
    if name not in available and f"{name}.0" not in available:
        raise BackendError(
            f"{device} was asked for, but OpenVINO finds only {', '.join(available)}: an Intel GPU "
            "needs its compute runtime (intel-opencl-icd)"
        )


def _full_name(core: Any, name: str) -> str:
    return str(core.get_property(name, "FULL_DEVICE_NAME")).strip()


def _precision(stored: str, computed: str) -> str:
    """Return the precision that the network computes in; int8 layers stay int8."""
    if stored.startswith("int8"):
        return stored if computed == "fp32" else f"{stored} and {computed}"
    return computed


def _reason(error: RuntimeError) -> str:
    """Return the sentence of an OpenVINO exception that says what is wrong.

    Before it stand the source lines that it came from.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (plain or lines or ["no reason given"])[-1][:300]
