"""ONNX Runtime, with the execution provider that was asked for or not at all."""

import contextlib
import ctypes
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Generic

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import MIN_ROWS_NAME, NEVER
from co2net_runtime.backends import AnyContract, Arrays, EngineInfo, EngineOptions, run_failed, tf32
from co2net_runtime.backends.buckets import bucket, pad_time
from co2net_runtime.backends.device import gpus, is_arm
from co2net_runtime.backends.ort import providers
from co2net_runtime.backends.ort.bound import BoundSession
from co2net_runtime.backends.ort.cpu import CpuSession
from co2net_runtime.backends.ort.module import load_onnxruntime
from co2net_runtime.backends.ort.providers import Provider
from co2net_runtime.backends.trt import profiles as trt_profiles
from co2net_runtime.backends.trt.api import preload_tensorrt
from co2net_runtime.backends.trt.profiles import Profile
from co2net_runtime.errors import BackendError, InputError

# operators that are the network; all others may be bookkeeping on shapes and masks
HEAVY = re.compile(r"Conv|MatMul|Gemm|AveragePool")

QUIET, DEFAULT_LOGGING = 4, 2


class OnnxRuntimeBackend(Generic[AnyContract]):
    """An ONNX file opened in ONNX Runtime. `infer` may be called from several threads."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        contract: AnyContract,
        options: EngineOptions = EngineOptions(),
        provider: Provider | None = None,
    ) -> None:
        """Load the file.

        Args:
            path: The ONNX file.
            contract: Of the file.
            options: How to run it; its backend and device are those of `provider`.
            provider: Must run the network, or it is an error. None: the CPU.

        Raises:
            InputError: The file is missing or damaged.
            MissingDependencyError: onnxruntime is not installed.
            BackendError: The engine refuses the model, or runs it elsewhere than asked.
        """
        self._provider = provider or providers.cpu()
        self._contract = contract
        onnxruntime = load_onnxruntime()
        _require_available(onnxruntime, self._provider)
        settings = _session_options(onnxruntime, options)
        self._session: Any
        self._layers = ""
        if self._provider.name == providers.CPU and not self._provider.bind:
            plain = contract.optimize == "cpu" and options.cpu_form == "plain"
            self._session = CpuSession(
                onnxruntime,
                path,
                settings,
                plain_form=plain,
                new_session=partial(_new_session, onnxruntime, path, self._provider),
            )
        else:
            if contract.optimize == "cpu":  # its fast form suits CPUs only
                # the value must outlive the session
                self._never = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(NEVER))
                settings.add_initializer(MIN_ROWS_NAME, self._never)
            if self._provider.device.kind == "cuda":
                inside = self._provider.name == providers.TENSORRT
                tf32.settle(options.tf32, by_environment=inside)
            session, self._layers = _open_session(onnxruntime, path, self._provider, settings)
            self._session = BoundSession(onnxruntime, session, self._provider.device)
        self._errors = _run_errors()
        device = self._provider.device
        self._info = EngineInfo(
            engine="onnxruntime",
            version=onnxruntime.__version__,
            provider=self._provider.name,
            device=str(device),
            precision=_computed(self._contract.precision, options),
            device_name=gpus()[device.index].name if device.kind == "cuda" and gpus() else "",
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
        """The longest video that TensorRT's profile takes; None with the other providers."""
        profile = self._provider.profile
        return None if profile is None else profile.length[2]

    def max_batch(self, length: int) -> int | None:
        """Return the largest batch of TensorRT's profile; None with the other providers.

        Raises BackendError if the profile takes no video of that length.
        """
        profile = self._provider.profile
        return None if profile is None else trt_profiles.max_batch([profile], length)

    @property
    def layers(self) -> str:
        """Where operators ran that are not heavy; nothing on the CPU."""
        return self._layers

    def infer(self, feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run the graph: input arrays by name -> output arrays by name.

        Raises BackendError if ONNX Runtime fails, or the backend is closed.
        """
        session = self._session  # a thread that closes the backend does not pull it away
        if session is None:
            raise BackendError("the model is closed")
        names = list(self._contract.outputs)
        if self._provider.buckets and "lengths" in feeds:
            length = feeds["features"].shape[1]
            found = self._infer(session, names, pad_time(feeds, bucket(length)))
            return {name: array[:, :length] for name, array in found.items()}
        return self._infer(session, names, feeds)

    def _infer(self, session: Any, names: list[str], feeds: Arrays) -> dict[str, npt.NDArray[Any]]:
        try:
            values = session.run(names, feeds)
        except self._errors as error:
            raise run_failed("ONNX Runtime", str(error), feeds) from error
        return dict(zip(names, values, strict=True))

    def infer_each(self, batches: Iterable[Arrays]) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yield what `infer` returns for each batch."""
        return map(self.infer, batches)

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def __enter__(self) -> "OnnxRuntimeBackend[AnyContract]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def preload_cuda(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from where pip installed them: the loader does not look there."""
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(None):  # it prints, and results go there
            onnxruntime.preload_dlls()


def _session_options(onnxruntime: Any, options: EngineOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or 0
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    settings.enable_cpu_mem_arena = settings.enable_mem_pattern = options.memory_arena
    settings.log_severity_level = QUIET  # errors come as exceptions
    if options.bf16:
        if not is_arm():
            raise BackendError(
                "ONNX Runtime computes in bfloat16 on Arm processors only: --backend openvino does "
                "on this one, if it has AVX512-BF16 or AMX"
            )
        settings.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")
    return settings


def _computed(stored: str, options: EngineOptions) -> str:
    return "bf16" if options.bf16 and stored == "fp32" else stored


def _require_available(onnxruntime: Any, provider: Provider) -> None:
    available = onnxruntime.get_available_providers()
    if provider.name not in available:
        raise BackendError(
            f"{provider.name} was asked for, but this onnxruntime {onnxruntime.__version__} has "
            f"only {', '.join(available)}: replace it by the one of "
            f"'co2net[{providers.EXTRA[provider.name]}]' (co2net-doctor tells how)"
        )


def _open_session(
    onnxruntime: Any, path: str | os.PathLike[str], provider: Provider, options: Any
) -> tuple[Any, str]:
    """Return a session whose heavy operators were seen to run on `provider`, and what else did."""
    if provider.name == providers.CPU:
        return _new_session(onnxruntime, path, provider, os.fspath(path), options), ""
    with tempfile.TemporaryDirectory(prefix="co2net-") as folder, _quiet(onnxruntime):
        if provider.device.kind == "cuda":
            preload_cuda(onnxruntime)
        if provider.name == providers.TENSORRT:
            preload_tensorrt()
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "placement")  # noqa: PTH118  # a prefix
        session = _new_session(onnxruntime, path, provider, os.fspath(path), options)
        if provider.name not in session.get_providers():
            reason = _why_not(onnxruntime, provider) or f"{provider.device} is not supported"
            raise _did_not_start(provider, reason)
        return session, _check_placement(session, provider)


def _new_session(
    onnxruntime: Any,
    path: str | os.PathLike[str],
    provider: Provider,
    model: str | bytes,
    options: Any,
) -> Any:
    """Return a session of `model`, a file's name or content; errors name `path`."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    try:
        # the fallback would print on stdout, and run on the CPU what fails on the GPU
        return onnxruntime.InferenceSession(
            model, options, providers=list(provider.entries), enable_fallback=0
        )
    except (states.InvalidProtobuf, states.InvalidGraph, states.NoSuchFile) as error:
        raise InputError(f"{path}: damaged or truncated, or not an ONNX file") from error
    except (states.NotImplemented, *_run_errors(), RuntimeError, ValueError) as error:
        missing = _why_not(onnxruntime, provider)
        if missing:
            raise _did_not_start(provider, missing) from error
        raise BackendError(f"{path}: ONNX Runtime refuses it: {_first_line(str(error))}") from error


def _check_placement(session: Any, provider: Provider) -> str:
    """Run the smallest shape under the profiler; return in words where the operators ran.

    Raises BackendError if heavy ones ran elsewhere than on `provider`.
    """
    feeds: dict[str, npt.NDArray[Any]] = {}
    profile = provider.profile or Profile()
    smallest = (profile.batch[0], profile.length[0])  # batch and time are the leading axes
    for value in session.get_inputs():
        shape = [
            size if isinstance(size, int) else smallest[axis]
            for axis, size in enumerate(value.shape)
        ]
        feeds[value.name] = np.ones(shape, np.int64 if "int64" in value.type else np.float32)
    try:
        session.run(None, feeds)
    except _run_errors() as error:
        raise run_failed(provider.name, str(error), feeds) from error
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [
        (event["args"]["op_name"], event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and "provider" in event["args"]
    ]
    elsewhere = [one for one in ran if one[1] != provider.name]
    if heavy := {one for one in elsewhere if HEAVY.search(one[0])}:
        nodes = ", ".join(f"{name} on {where}" for name, where in sorted(heavy))
        raise BackendError(f"{provider.name} was asked for, but ONNX Runtime runs {nodes}")
    copies = sum(name.startswith("Memcpy") for name, _ in ran)
    return f"{len(elsewhere)} small operators elsewhere, {copies} copies to and from the host"


def _did_not_start(provider: Provider, reason: str) -> BackendError:
    return BackendError(
        f"{provider.name} was asked for, but did not start: {reason} (co2net-doctor tells more)"
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "no reason given"


def _why_not(onnxruntime: Any, provider: Provider) -> str:
    """Return the reason that the provider does not start; "" if it is not its libraries or the GPU.

    It loads the provider's own library, whose error names the library that is missing.
    """
    if provider.name == providers.CPU:
        return ""
    stem = provider.name.removesuffix("ExecutionProvider").lower()
    library = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{stem}.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    if provider.device.kind == "cuda" and not gpus():
        return "no NVIDIA GPU that the driver lets this process use"
    return ""


@contextlib.contextmanager
def _quiet(onnxruntime: Any) -> Iterator[None]:
    """Keep the loader's colored lines off the terminal: an exception says the same.

    ONNX Runtime does not tell which level it had; the one that it gets back is its default.
    """
    onnxruntime.set_default_logger_severity(QUIET)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(DEFAULT_LOGGING)


def _run_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    return (states.Fail, states.RuntimeException, states.InvalidArgument, states.EPFail)
