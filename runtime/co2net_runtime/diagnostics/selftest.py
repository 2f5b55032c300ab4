"""Every engine, precision and profile that this machine can run, against the CPU's results."""

import os
import statistics
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device, gpus
from co2net_runtime.backends.options import BackendName
from co2net_runtime.backends.ort.module import load_onnxruntime
from co2net_runtime.backends.ort.providers import CPU, CUDA, TENSORRT
from co2net_runtime.backends.ov import load_openvino
from co2net_runtime.backends.selection import require_runnable
from co2net_runtime.backends.trt.api import load_tensorrt
from co2net_runtime.backends.trt.profiles import TensorRtOptions
from co2net_runtime.errors import BackendError, Co2netError, MissingDependencyError
from co2net_runtime.features import Features
from co2net_runtime.network.chunks import chunk_graph_path
from co2net_runtime.network.network import Activations, Network

FOLDER = Path(__file__).parent / "selftest_models"

# on both sides of buckets and profiles
LENGTHS = (1, 2, 3, 63, 64, 65, 300, 512, 513)
TIMED_LENGTH, REPEATS = 300, 5
# the longest once more through the chunk graph, where there is one
CHUNK = 100


@dataclass(frozen=True)
class Tolerance:
    """How far a precision may be from the CPU."""

    measure: Literal["max", "mean"]  # of the absolute differences, as in the export's parity check
    bound: float  # of the attention, and of cas relative to max(1, max |cas|)


TOLERANCES = {
    "fp32": Tolerance("max", 1e-4),
    "fp16": Tolerance("mean", 1e-3),
    "int8-cpu": Tolerance("mean", 1e-2),
    "int8-trt": Tolerance("mean", 1e-2),
}


PROVIDERS = {"onnxruntime-tensorrt": TENSORRT}


@dataclass(frozen=True)
class Setup:
    """One way to run a model."""

    backend: BackendName
    device: str
    cuda_graphs: bool = False

    def __str__(self) -> str:
        return f"{self.backend} {self.device}{' cuda-graphs' if self.cuda_graphs else ''}"

    def lacking(self) -> str:
        """Return the part that this machine lacks, "" if none is known to be missing."""
        try:
            if self.backend == "tensorrt":
                load_tensorrt()
            elif self.backend == "openvino":
                load_openvino()
            else:
                on_cpu = self.device == "cpu"
                provider = PROVIDERS.get(self.backend, CPU if on_cpu else CUDA)
                onnxruntime = load_onnxruntime()
                if provider not in onnxruntime.get_available_providers():
                    return f"the installed onnxruntime has no {provider}"
        except MissingDependencyError as error:
            return str(error)
        except BackendError:
            return ""  # there, and broken: running it says how
        if self.device.startswith("cuda") and not gpus():
            return "no NVIDIA GPU"
        return ""


@dataclass(frozen=True)
class Result:
    """The outcome of one model in one setup."""

    model: str  # file name
    precision: str  # of the file
    setup: str  # as `Setup` writes it
    # "passed" and "failed" by the tolerance; "ran" where there was nothing to compare with; "not
    # here" where the machine lacks a part of the setup
    status: Literal["passed", "failed", "ran", "not here"]
    detail: str = ""  # why
    engine: str = ""  # as `EngineInfo` writes it
    layers: str = ""  # where they run, in which precision; "" where the engine does not tell
    cas: float | None = None  # largest measured difference: alone, in batches, in chunks
    attention: float | None = None  # likewise
    bound: float | None = None  # of both
    load_s: float | None = None  # seconds to the first result
    median_ms: float | None = None  # of T = 300; for orientation, not a benchmark


def setups() -> list[Setup]:
    """Return all ways; those that need a GPU for each that is there, or the first."""
    devices = [f"cuda:{gpu.index}" for gpu in gpus()] or ["cuda:0"]
    return [
        Setup("onnxruntime", "cpu"),
        Setup("openvino", "cpu"),
        *(Setup("onnxruntime", device) for device in devices),
        *(Setup("onnxruntime-tensorrt", device) for device in devices),
        *(Setup("tensorrt", device) for device in devices),
        *(Setup("tensorrt", device, cuda_graphs=True) for device in devices),
    ]


def synthetic_features(length: int, channels: int) -> Features:
    """Return features (length, channels) float32, non-negative as I3D's are, the same everywhere.

    numpy promises that RandomState's numbers stay what they are.
    """
    values = np.random.RandomState(length).standard_normal((length, channels))  # see above
    return np.abs(values).astype(np.float32)


def run(
    models: Sequence[Path] = (), *, cache: str | os.PathLike[str] | None = None
) -> Iterator[Result]:
    """Yield the result of each model in each setup; without models, of those that are shipped.

    A model's own results on the CPU are what its other setups are compared with; those of the
    models that come along on the CPU are compared with PyTorch's.

    Raises InputError if a model file cannot be read.
    """
    shipped = (path for path in sorted(FOLDER.glob("*.onnx")) if ".chunk" not in path.name)
    for model in models or shipped:
        contract = read_contract(model)
        videos = [synthetic_features(length, contract.feature_dim) for length in LENGTHS]
        expected = None if models else _shipped_results()
        for setup in setups():
            try:
                require_runnable(contract, model, setup.backend, Device.parse(setup.device).kind)
            except BackendError:
                continue
            row = Result(model.name, contract.precision, str(setup), "not here", setup.lacking())
            if row.detail:
                yield row
                continue
            try:
                measured, found = _measure(model, setup, videos, cache)
            except Co2netError as error:
                yield replace(row, status="failed", detail=str(error))
                continue
            except Exception as error:  # on a machine that is new to us: the rest still runs
                yield replace(row, status="failed", detail=_unforeseen(error))
                continue
            yield _judge(replace(row, **measured), found, expected)
            if setup == Setup("onnxruntime", "cpu"):
                expected = [one for _, one in found[: len(videos)]]


def _measure(
    model: Path, setup: Setup, videos: list[Features], cache: str | os.PathLike[str] | None
) -> tuple[dict[str, Any], list[tuple[int, Activations]]]:
    """Return figures, and the network's outputs, each with the number of its video.

    Each video alone, so that the lengths change from call to call; then all in batches; the last
    in chunks; and, in an fp16 file, from features in float16.
    """
    start = time.perf_counter()
    options = EngineOptions(
        backend=setup.backend,
        device=setup.device,
        tensorrt=TensorRtOptions(cuda_graphs=setup.cuda_graphs),
        cache=cache,
    )
    with Network.open(model, options) as network:
        found = list(enumerate(network.run(videos[:1])))
        load_s = time.perf_counter() - start
        for number, video in enumerate(videos[1:], 1):
            found += [(number, one) for one in network.run([video])]
        found += enumerate(network.run(videos, size=4))
        last = len(videos) - 1
        if network.contract.precision == "fp16":
            half = network.check(videos[last].astype(np.float16), "float16 features")
            found += [(last, one) for one in network.run([half])]
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            network.run([videos[LENGTHS.index(TIMED_LENGTH)]])
            times.append(time.perf_counter() - start)
        figures = {
            "engine": str(network.engine),
            "layers": network.layers,
            "load_s": round(load_s, 3),
            "median_ms": round(1000 * statistics.median(times), 3),
        }
    if chunk_graph_path(model).is_file():
        with Network.open(model, options, chunk=CHUNK) as chunked:
            found += [(last, one) for one in chunked.run(videos[last:])]
    return figures, found


def _judge(
    row: Result, found: list[tuple[int, Activations]], expected: list[Activations] | None
) -> Result:
    if not all(np.isfinite(one.cas).all() and np.isfinite(one.attention).all() for _, one in found):
        return replace(row, status="failed", detail="NaN or infinite outputs")
    if expected is None:
        return replace(row, status="ran", detail="no results of the CPU to compare with")
    tolerance = TOLERANCES[row.precision]
    norm = np.max if tolerance.measure == "max" else np.mean
    cas = attention = 0.0
    for number, one in found:
        other = expected[number]
        scale = max(1.0, float(np.abs(other.cas).max()))
        cas = max(cas, float(norm(np.abs(one.cas - other.cas))) / scale)
        attention = max(attention, float(norm(np.abs(one.attention - other.attention))))
    passed = max(cas, attention) <= tolerance.bound
    return replace(
        row, status="passed" if passed else "failed", cas=cas, attention=attention,
        bound=tolerance.bound,
        detail="" if passed else f"the {tolerance.measure} difference is above the bound",
    )  # fmt: skip


def _unforeseen(error: Exception) -> str:
    """Return the exception and the line of the package that raised it."""
    package = Path(__file__).parents[1]
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(package)
    ]
    where = f"{Path(own[-1].filename).relative_to(package)}:{own[-1].lineno}"
    return f"{type(error).__name__} in {where}: {error}"


def _shipped_results() -> list[Activations]:
    with np.load(FOLDER / "expected.npz") as arrays:
        return [Activations(arrays[f"cas_{n}"], arrays[f"attention_{n}"]) for n in LENGTHS]
