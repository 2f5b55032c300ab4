"""One runner per kind of target. `RUNNERS` is the only list of them."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from co2net_benchmarks.runners.runner import Outputs, Runner, Source
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.ort.module import load_onnxruntime
from co2net_runtime.backends.ov import load_openvino
from co2net_runtime.features import Features
from co2net_runtime.files.atomic import sha256

if TYPE_CHECKING:
    from torch import Tensor


class RuntimeRunner(Runner):
    """An artefact in co2net's runtime, as users run it."""

    description = "co2net runtime"
    source: ClassVar[Source] = "artefact"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    @classmethod
    def import_engine(cls) -> None:
        """Import the runtime; it chooses its engine, and imports it, as it opens the file."""
        import co2net_runtime.localizer  # noqa: F401  timed

    def __init__(self, path: Path, options: EngineOptions) -> None:
        from co2net_runtime.localizer import Localizer

        self._localizer = Localizer.load(path, options)
        self.take_contract(self._localizer.contract)
        if options.bf16:
            self.precision = self._localizer.engine.precision
        self.engine = f"{self.description}, {self._localizer.engine}"

    @classmethod
    def needs(cls, path: Path) -> tuple[str, ...]:
        """Return the package of the file's engine; one of two runs an ONNX file."""
        if path.suffix == ".engine":
            return ("tensorrt",)
        return () if importlib.util.find_spec("openvino") else cls.packages

    def network(self, features: Features) -> Outputs:
        """Run the localizer's network."""
        (found,) = self._localizer.network.run([features])
        return found.cas, found.attention

    def run_files(self, paths: Sequence[Path]) -> int:
        """Run Localizer.stream_files, which reads the next features while the network runs."""
        return sum(len(found) for _, found in self._localizer.stream_files(paths))


class TorchRunner(Runner):
    """The training model in PyTorch, eager."""

    description = "PyTorch eager"
    source: ClassVar[Source] = "checkpoint"
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    @classmethod
    def import_engine(cls) -> None:
        """Import PyTorch and the model."""
        import co2net.checkpoint  # noqa: F401  timed

    def __init__(self, path: Path, options: EngineOptions) -> None:
        import torch

        from co2net.checkpoint import Checkpoint

        # features are mapped read-only, and nothing writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        if options.threads:
            torch.set_num_threads(options.threads)
        checkpoint = Checkpoint.load(path)
        # a checkpoint may hold the training's state besides
        self.model_bytes = sum(weight.nbytes for weight in checkpoint.weights.values())
        self.macs_per_snippet = macs_per_snippet(checkpoint.weights)
        self.contract, self.feature_dim = checkpoint, checkpoint.model.feature_dim
        self.checkpoint_sha256 = sha256(path)
        self._torch = torch
        self._device = torch.device("cpu" if options.device == "auto" else options.device)
        self._module = self.compiled(checkpoint.build().to(self._device))
        self.engine = f"{self.description}, torch {torch.__version__} {self._device}"

    def compiled(self, module: Any) -> Callable[..., Any]:
        """Return the module as it is to be called."""
        called: Callable[..., Any] = module
        return called

    def network(self, features: Features) -> Outputs:
        """Run the module, and on a GPU its clock."""
        torch = self._torch
        with torch.inference_mode():
            batch = torch.from_numpy(features)[None].to(self._device)
            outputs, self.device_s = self._timed(batch)
            return outputs.cas[0].cpu().numpy(), outputs.attention[0, :, 0].cpu().numpy()

    def _timed(self, batch: Any) -> tuple[Any, float | None]:
        if self._device.type != "cuda":
            return self._module(batch), None
        cuda = self._torch.cuda
        before, after = (cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        outputs = self._module(batch)
        after.record()
        after.synchronize()
        return outputs, before.elapsed_time(after) / 1e3


class CompileRunner(TorchRunner):
    """The training model in PyTorch, compiled."""

    description = "torch.compile"
    is_baseline = True

    def compiled(self, module: Any) -> Callable[..., Any]:
        """Compile for any length."""
        called: Callable[..., Any] = self._torch.compile(module, dynamic=True)
        return called


class PublishedRunner(TorchRunner):
    """The training model in PyTorch, its segments by the published program's nested loops."""

    description = "PyTorch eager, published post-processing"

    def decode(self, outputs: Outputs) -> int:
        """Decode as the published program does."""
        from co2net_benchmarks.runners import published_decoding

        cas, attention = outputs
        found = published_decoding.decode(cas, attention, self.contract.decode)
        return len(self.contract.timing.to_seconds(found.start))


class OnnxRuntimeRunner(Runner):
    """An ONNX artefact in ONNX Runtime with its defaults, without our runtime."""

    description = "ONNX Runtime alone, with its defaults"
    source: ClassVar[Source] = "artefact"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    @classmethod
    def import_engine(cls) -> None:
        """Import ONNX Runtime."""
        load_onnxruntime()

    def __init__(self, path: Path, options: EngineOptions) -> None:
        from co2net_runtime.artefact.onnx_file import read_contract

        onnxruntime = load_onnxruntime()
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.threads or 0
        self._session = onnxruntime.InferenceSession(
            str(path), session_options, providers=["CPUExecutionProvider"]
        )
        self.take_contract(read_contract(path))
        self.engine = f"{self.description}, onnxruntime {onnxruntime.__version__} cpu"

    def network(self, features: Features) -> Outputs:
        """Run the session."""
        cas, attention = self._session.run(["cas", "attention"], self.feeds(features))
        return cas[0], attention.reshape(-1)

    def feeds(self, features: Features) -> dict[str, Any]:
        """Return the graph's inputs."""
        return {"features": features[None], "lengths": np.array([len(features)], dtype=np.int64)}


class PlainRunner(OnnxRuntimeRunner):
    """torch.onnx.export of the training model in ONNX Runtime, both with their defaults."""

    description = "plain torch.onnx.export, ONNX Runtime defaults"
    source: ClassVar[Source] = "checkpoint"
    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")
    is_prepared = True
    is_baseline = True

    @classmethod
    def prepare(cls, path: Path, folder: Path) -> Path:
        """Export the checkpoint."""
        from co2net_benchmarks.runners.plain_export import export_plainly

        plain = folder / f"{path.stem}.plain.onnx"
        export_plainly(path, plain)
        return plain

    def feeds(self, features: Features) -> dict[str, Any]:
        """Return the graph's only input."""
        return {"features": features[None]}


class OpenVinoRunner(Runner):
    """An ONNX artefact in OpenVINO with its defaults."""

    description = "OpenVINO"
    source: ClassVar[Source] = "artefact"
    packages: ClassVar[tuple[str, ...]] = ("openvino",)
    is_baseline = True

    @classmethod
    def import_engine(cls) -> None:
        """Import OpenVINO."""
        load_openvino()

    def __init__(self, path: Path, options: EngineOptions) -> None:
        from co2net_runtime.artefact.onnx_file import read_contract

        openvino = load_openvino()
        config: dict[str, Any] = self.properties()
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = options.threads
        compiled = openvino.Core().compile_model(str(path), "CPU", config)
        self._request = compiled.create_infer_request()
        self.take_contract(read_contract(path))
        # by default it computes in bfloat16 where the processor can
        self.precision = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        version = openvino.__version__.partition("-")[0]
        self.engine = f"OpenVINO {version} cpu, computes in {self.precision}"

    def properties(self) -> dict[str, str]:
        """Return OpenVINO's properties that are not its defaults."""
        return {}

    def network(self, features: Features) -> Outputs:
        """Run the request."""
        lengths = np.array([len(features)], dtype=np.int64)
        outputs = self._request.infer({"features": features[None], "lengths": lengths})
        return outputs["cas"][0], outputs["attention"][0, :, 0]


class OpenVinoFloat32Runner(OpenVinoRunner):
    """An ONNX artefact in OpenVINO, told to compute in float32."""

    description = "OpenVINO, told to compute in float32"

    def properties(self) -> dict[str, str]:
        """Ask for float32."""
        return {"INFERENCE_PRECISION_HINT": "f32"}


RUNNERS: Mapping[str, type[Runner]] = MappingProxyType(
    {
        "torch": TorchRunner,
        "compile": CompileRunner,
        "published": PublishedRunner,
        "plain": PlainRunner,
        "runtime": RuntimeRunner,
        "onnxruntime": OnnxRuntimeRunner,
        "openvino": OpenVinoRunner,
        "openvino-f32": OpenVinoFloat32Runner,
    }
)
"""The runners by the KIND of a target on the command line."""


def macs_per_snippet(weights: "Mapping[str, Tensor]") -> int:
    """Return the multiply-accumulates for one more snippet (method, section 1); FLOP are twice.

    A layer takes each of its weights once a snippet, but for the global context
    (`channel_conv`), which is computed once a video. 27.8 M at the published sizes, of the plain
    convolutions: an artefact that saves arithmetic (Winograd) shows a rate above what it computes.

    Args:
        weights: The state dict of the model.
    """
    return sum(
        weight.numel()
        for name, weight in weights.items()
        if weight.ndim > 1 and "channel_conv" not in name
    )
