"""A target, opened: the parts of the pipeline that differ between targets (runs in the child)."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from co2net_benchmarks.graphs.macs import macs_per_snippet
from co2net_benchmarks.runners.targets import DESCRIPTIONS, Target
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.decoding.detect import detect
from co2net_runtime.features import Features

if TYPE_CHECKING:
    from co2net_runtime.network.network import Activations

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Prepared:
    """A target ready to be opened: `path` is what the engine loads.

    contract: as JSON, where the file itself carries none.
    """

    target: Target
    path: Path
    contract: str | None = None

    @property
    def model_bytes(self) -> int:
        """Size of what the engine loads, external weights included."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.name}*"))


class Subject:
    """One opened target.

    macs_per_snippet: None where it does not tell. model_bytes: of the weights, where the file
    holds more than the model. computes_in: the precision, where it is not the file's. device_s:
    time of the last network run by the device's own clock, None where there is none.
    """

    contract: Contract
    engine: str
    macs_per_snippet: int | None = None
    model_bytes: int | None = None
    computes_in: str | None = None
    device_s: float | None = None

    def network(self, features: Features) -> Any:
        """Run the network on checked features (T, D); the result lies in host memory."""
        raise NotImplementedError

    def decode(self, outputs: Any) -> int:
        """Turn the network's (cas, attention) into segments in seconds; return how many."""
        cas, attention = outputs
        return len(detect(cas, attention, self.contract))

    def tensors(self, outputs: Any) -> Outputs:
        """Return the network's cas (T, C + 1) and attention (T,)."""
        cas, attention = outputs
        return cas, attention

    def run_files(self, paths: Sequence[Path]) -> int:
        """Work through feature files as fast as this target can; return the segments found."""
        return sum(run_once(self, path)[1] for path in paths)


def open_subject(prepared: Prepared, options: EngineOptions) -> Subject:
    """Open the target; this is what cold start calls loading."""
    subjects: dict[str, Callable[[Prepared, EngineOptions], Subject]] = {
        "runtime": RuntimeSubject,
        "torch": TorchSubject,
        "compile": TorchSubject,
        "plain": PlainSubject,
        "onnxruntime": EngineSubject,
        "openvino": OpenVinoSubject,
        "openvino-f32": OpenVinoSubject,
    }
    return subjects[prepared.target.kind](prepared, options)


class RuntimeSubject(Subject):
    """An artefact in co2net's runtime, as users run it."""

    def __init__(self, prepared: Prepared, options: EngineOptions) -> None:
        from co2net_runtime.localizer import Localizer

        self._localizer = Localizer.load(prepared.path, options)
        self.contract = self._localizer.contract
        self.engine = f"co2net runtime, {self._localizer.engine}"

    def network(self, features: Features) -> "Activations":
        """Run the localizer's network."""
        return self._localizer.network.run([features])[0]

    def decode(self, outputs: "Activations") -> int:
        """Run Localizer.detect."""
        return len(self._localizer.detect(outputs))

    def tensors(self, outputs: "Activations") -> Outputs:
        """Return what the localizer's activations hold."""
        return outputs.cas, outputs.attention

    def time_network(self, paths: Sequence[Path], size: int | None) -> float:
        """Run the network alone over feature files; return the seconds it took.

        The videos run in groups as Localizer.stream_files makes them, with features that are in
        memory already. size: of a batch; None for what is best here.
        """
        from co2net_runtime.features import FeatureFile
        from co2net_runtime.network.pipeline import PACKED_WINDOW

        spent_s = 0.0
        for begin in range(0, len(paths), PACKED_WINDOW):
            files = paths[begin : begin + PACKED_WINDOW]
            videos = [FeatureFile(p.stem, p).read(self.contract.feature_dim) for p in files]
            start = time.perf_counter()
            self._localizer.network.run(videos, size=size)
            spent_s += time.perf_counter() - start
        return spent_s

    def run_files(self, paths: Sequence[Path]) -> int:
        """Run Localizer.stream_files."""
        return sum(len(found) for _, found in self._localizer.stream_files(paths))


class TorchSubject(Subject):
    """The training model in PyTorch, eager or compiled."""

    def __init__(self, prepared: Prepared, options: EngineOptions) -> None:
        import torch

        from co2net.checkpoint import Checkpoint

        # features are mapped read-only, and nothing writes to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        if options.threads:
            torch.set_num_threads(options.threads)
        checkpoint = Checkpoint.load(prepared.path)
        # a checkpoint may hold the training's state besides
        self.model_bytes = sum(weight.nbytes for weight in checkpoint.weights.values())
        self._torch = torch
        self._device = torch.device("cpu" if options.device == "auto" else options.device)
        self._model: Callable[..., Any] = checkpoint.build().to(self._device)
        if prepared.target.kind == "compile":
            self._model = torch.compile(self._model, dynamic=True)
        self.contract = checkpoint_contract(checkpoint, prepared.path)
        self.macs_per_snippet = macs_per_snippet(checkpoint.model)
        self.engine = (
            f"{DESCRIPTIONS[prepared.target.kind]}, torch {torch.__version__} {self._device}"
        )
        self._published = prepared.target.published_decoding
        if self._published:
            self.engine += ", published post-processing"

    def network(self, features: Features) -> Outputs:
        """Run the network: cas (T, C + 1), attention (T,)."""
        torch = self._torch
        with torch.inference_mode():
            batch = torch.from_numpy(features)[None].to(self._device)
            outputs, self.device_s = self._timed(batch)
            return outputs.cas[0].cpu().numpy(), outputs.attention[0, :, 0].cpu().numpy()

    def _timed(self, batch: Any) -> tuple[Any, float | None]:
        if self._device.type != "cuda":
            return self._model(batch), None
        cuda = self._torch.cuda
        before, after = (cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        outputs = self._model(batch)
        after.record()
        after.synchronize()
        return outputs, before.elapsed_time(after) / 1e3

    def decode(self, outputs: Outputs) -> int:
        """Decode as the target says."""
        if not self._published:
            return super().decode(outputs)
        from co2net_benchmarks.published import decoding as published_decoding

        cas, attention = outputs
        found = published_decoding.decode(cas, attention, self.contract.decode)
        return len(self.contract.timing.to_seconds(found.start))


class PlainSubject(Subject):
    """torch.onnx.export of the training model in ONNX Runtime, both with their defaults."""

    def __init__(self, prepared: Prepared, options: EngineOptions) -> None:
        self._session, version = _default_session(prepared.path, options)
        assert prepared.contract is not None
        self.contract = Contract.from_json(prepared.contract, prepared.target.name)
        self.engine = f"{DESCRIPTIONS['plain']}, onnxruntime {version} cpu"

    def network(self, features: Features) -> Outputs:
        """Run the network: cas (T, C + 1), attention (T,)."""
        cas, attention = self._session.run(["cas", "attention"], {"features": features[None]})
        return cas[0], attention[0, :, 0]


class EngineSubject(Subject):
    """An ONNX artefact in ONNX Runtime with its defaults, without our runtime."""

    def __init__(self, prepared: Prepared, options: EngineOptions) -> None:
        from co2net_runtime.artefact.onnx_file import read_contract

        self._session, version = _default_session(prepared.path, options)
        self.contract = read_contract(prepared.path)
        self.engine = f"{DESCRIPTIONS['onnxruntime']}, {version} cpu"

    def network(self, features: Features) -> Outputs:
        """Run the network: cas (T, C + 1), attention (T,)."""
        lengths = np.array([len(features)], dtype=np.int64)
        feeds = {"features": features[None], "lengths": lengths}
        cas, attention = self._session.run(["cas", "attention"], feeds)
        return cas[0], attention[0, :, 0]


class OpenVinoSubject(Subject):
    """An ONNX artefact in OpenVINO, with its defaults or told to compute in float32."""

    def __init__(self, prepared: Prepared, options: EngineOptions) -> None:
        import openvino

        config: dict[str, Any] = {}
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = options.threads
        if prepared.target.kind == "openvino-f32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        model = openvino.Core().compile_model(str(prepared.path), "CPU", config)
        self._request = model.create_infer_request()
        assert prepared.contract is not None
        self.contract = Contract.from_json(prepared.contract, prepared.target.name)
        # by default it computes in bfloat16 where the processor can
        self.computes_in = str(model.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        version = openvino.__version__.partition("-")[0]
        self.engine = f"OpenVINO {version} cpu, computes in {self.computes_in}"

    def network(self, features: Features) -> Outputs:
        """Run the network: cas (T, C + 1), attention (T,)."""
        lengths = np.array([len(features)], dtype=np.int64)
        outputs = self._request.infer({"features": features[None], "lengths": lengths})
        return outputs["cas"][0], outputs["attention"][0, :, 0]


def prepare(target: Target, folder: Path) -> Prepared:
    """Do what a user of this target has done once beforehand: export it, know its contract."""
    if target.kind == "plain":
        from co2net.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(target.path)
        path = folder / f"{target.path.stem}.plain.onnx"
        _plain_export(checkpoint, path)
        return Prepared(target, path, checkpoint_contract(checkpoint, target.path).to_json())
    if target.kind in ("openvino", "openvino-f32"):
        import onnx

        model = onnx.load(str(target.path), load_external_data=False)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.from_metadata(metadata, str(target.path))
        return Prepared(target, target.path, contract.to_json())
    return Prepared(target, target.path)


def checkpoint_contract(checkpoint: Any, path: Path) -> Contract:
    """Return what an artefact of this checkpoint would say of itself."""
    from co2net_runtime.files.atomic import sha256

    return Contract(
        classes=checkpoint.classes,
        rgb_dim=checkpoint.model.rgb_dim,
        flow_dim=checkpoint.model.flow_dim,
        opset=0,
        checkpoint_sha256=sha256(path),
        timing=checkpoint.timing,
        decode=checkpoint.decode,
        pool_kernel=checkpoint.model.pool_kernel,
    )


def _default_session(path: Path, options: EngineOptions) -> tuple[Any, str]:
    """Open a file in ONNX Runtime as one does without our runtime; return its version, too."""
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads or 0
    session = onnxruntime.InferenceSession(
        str(path), session_options, providers=["CPUExecutionProvider"]
    )
    return session, onnxruntime.__version__


def _plain_export(checkpoint: Any, path: Path) -> None:
    import torch

    class Tensors(torch.nn.Module):
        """The exporter takes tensors, not dataclasses."""

        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            outputs = self.model(features)
            return outputs.cas, outputs.attention

    torch.onnx.export(
        Tensors(checkpoint.build()),
        (torch.zeros(1, 64, checkpoint.model.feature_dim),),
        str(path),
        input_names=["features"],
        output_names=["cas", "attention"],
        dynamic_shapes={"features": {1: "time"}},
        dynamo=True,
        verbose=False,
    )


def run_once(subject: Subject, path: Path) -> tuple[dict[str, float], int]:
    """Take one video through the pipeline: seconds by stage, and the number of segments.

    Stages: read (open the file, check every value), network (host memory to host memory),
    decode, total; and device, where the device has a clock of its own.
    """
    from co2net_runtime.features import FeatureFile

    start = time.perf_counter()
    features = FeatureFile(path.stem, path).read(subject.contract.feature_dim)
    read = time.perf_counter()
    outputs = subject.network(features)
    network = time.perf_counter()
    segments = subject.decode(outputs)
    end = time.perf_counter()
    stages = {
        "read": read - start,
        "network": network - read,
        "decode": end - network,
        "total": end - start,
    }
    if subject.device_s is not None:
        stages["device"] = subject.device_s
    return stages, segments
