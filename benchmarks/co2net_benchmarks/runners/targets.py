"""What can be measured: a checkpoint, an artefact, or what users would take instead."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

from co2net_runtime.errors import InputError

Kind = Literal["torch", "compile", "plain", "runtime", "onnxruntime", "openvino", "openvino-f32"]

_RUNTIME_SUFFIXES = (".onnx", ".engine")

DESCRIPTIONS = MappingProxyType(
    {
        "torch": "PyTorch eager",
        "compile": "torch.compile",
        "plain": "plain torch.onnx.export, ONNX Runtime defaults",
        "runtime": "co2net runtime",
        "onnxruntime": "ONNX Runtime alone, with its defaults",
        "openvino": "OpenVINO",
        "openvino-f32": "OpenVINO, told to compute in float32",
    }
)
_ALSO_NEEDED = MappingProxyType(
    {"plain": ("torch", "onnxscript"), "openvino": ("onnx",), "openvino-f32": ("onnx",)}
)


@dataclass(frozen=True)
class Target:
    """One thing to measure, in one child process.

    name: as tables show it. kind: what runs the file (`DESCRIPTIONS`). path: a checkpoint
    (torch, compile, plain) or an artefact (runtime, onnxruntime, openvino). published_decoding:
    segments by the published program's nested loops instead of the runtime's decoder.
    """

    name: str
    kind: Kind
    path: Path
    published_decoding: bool = False

    @property
    def from_checkpoint(self) -> bool:
        """Whether the file is a checkpoint."""
        return self.kind in ("torch", "compile", "plain")

    @property
    def needs_preparation(self) -> bool:
        """Whether something must be exported or read before the engine can open it."""
        return self.kind in ("plain", "openvino", "openvino-f32")

    @property
    def model_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def engine_package(self) -> str:
        """The package that runs the network."""
        if self.kind == "runtime":
            return "tensorrt" if self.path.suffix == ".engine" else "onnxruntime"
        peers = {"plain": "onnxruntime", "onnxruntime": "onnxruntime"}
        peers |= {"openvino": "openvino", "openvino-f32": "openvino"}
        return peers.get(self.kind, "torch")

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose import is part of a cold start."""
        if self.kind == "runtime":
            return ("co2net_runtime.localizer", self.engine_package)
        own = "co2net.checkpoint" if self.kind in ("torch", "compile") else self.engine_package
        return (own, "co2net_runtime.decoding.proposals")

    def missing_packages(self) -> list[str]:
        """Return the packages that this target needs and that are not installed."""
        packages = (*_ALSO_NEEDED.get(self.kind, ()), self.engine_package)
        return [package for package in packages if importlib.util.find_spec(package) is None]


def parse_target(text: str) -> Target:
    """Read '[NAME=][KIND:]PATH'; without KIND, .onnx and .engine run in the runtime, others are
    checkpoints for PyTorch.

    Raises InputError if the file is missing.
    """
    name, separator, rest = text.partition("=")
    if not separator:
        name, rest = "", text
    kind, separator, path_text = rest.partition(":")
    if not separator or kind not in DESCRIPTIONS:
        kind, path_text = "", rest
    path = Path(path_text)
    if not path.is_file():
        raise InputError(
            f"{path}: no such file (a target is [NAME=][KIND:]PATH, KIND one of "
            f"{', '.join(DESCRIPTIONS)})"
        )
    if not kind:
        kind = "runtime" if path.suffix in _RUNTIME_SUFFIXES else "torch"
    given = path.name if kind in ("torch", "runtime") else f"{kind}:{path.name}"
    return Target(name or given, cast(Kind, kind), path)


def parse_targets(
    texts: Sequence[str], *, peers: bool = False, published_decoding: bool = False
) -> list[Target]:
    """Read the targets of a command line; names must differ.

    peers: also measure what users would take instead, from the first checkpoint (torch.compile,
    plain export) and the first ONNX file (OpenVINO, with its defaults and in float32).
    published_decoding: also measure the first checkpoint with the published post-processing.

    Raises InputError for a missing file, two targets of one name, or no file to make a peer of.
    """
    targets = [parse_target(text) for text in texts]
    checkpoint = next((target.path for target in targets if target.from_checkpoint), None)
    artefact = next((target.path for target in targets if target.path.suffix == ".onnx"), None)
    if peers and checkpoint is None and artefact is None:
        raise InputError("--peers needs a checkpoint or an ONNX file among the targets")
    if published_decoding and checkpoint is None:
        raise InputError("--published-decoding needs a checkpoint among the targets")
    if published_decoding and checkpoint is not None:
        name = f"published:{checkpoint.name}"
        targets.append(Target(name, "torch", checkpoint, published_decoding=True))
    taken = {(target.kind, target.path) for target in targets}
    kinds: dict[Kind, Path | None] = {
        "compile": checkpoint,
        "plain": checkpoint,
        "openvino": artefact,
        "openvino-f32": artefact,
    }
    targets += [
        Target(f"{kind}:{path.name}", kind, path)
        for kind, path in kinds.items()
        if peers and path is not None and (kind, path) not in taken
    ]
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two targets are called {name!r}: name them, as in A={name} B=...")
    return targets
