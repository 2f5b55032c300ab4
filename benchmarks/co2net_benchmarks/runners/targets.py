"""The targets of a command line: [NAME=][KIND:]PATH."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from co2net_benchmarks.runners.runner import Source, Target
from co2net_benchmarks.runners.runners import RUNNERS
from co2net_runtime.errors import InputError
from co2net_runtime.files.inputs import require_file

_RUNTIME_SUFFIXES = (".onnx", ".engine")


def parse_target(text: str) -> Target:
    """Read one target.

    Args:
        text: '[NAME=][KIND:]PATH'. Without KIND, .onnx and .engine files run in the runtime and
            others are checkpoints for PyTorch.

    Raises:
        InputError: The file is missing.
    """
    name, separator, rest = text.partition("=")
    if not separator:
        name, rest = "", text
    kind, separator, path_text = rest.partition(":")
    if not separator or kind not in RUNNERS:
        kind, path_text = "", rest
    kinds = ", ".join(RUNNERS)
    path = require_file(path_text, f" (a target is [NAME=][KIND:]PATH, KIND one of {kinds})")
    default = "runtime" if path.suffix in _RUNTIME_SUFFIXES else "torch"
    return Target(name or _name(kind or default, path), kind or default, path)


def parse_targets(
    texts: Sequence[str], *, baselines: bool = False, published_decoding: bool = False
) -> list[Target]:
    """Read the targets of a command line.

    Args:
        texts: One '[NAME=][KIND:]PATH' per target.
        baselines: Add the alternatives: every runner that is a baseline, of the first checkpoint
            and the first ONNX file.
        published_decoding: Add the first checkpoint with the published post-processing.

    Raises:
        InputError: A file is missing, two targets have one name, or there is no file to make a
            baseline of.
    """
    targets = [parse_target(text) for text in texts]
    files: dict[Source, Path] = {}
    for target in targets:
        source = RUNNERS[target.kind].source
        if source == "checkpoint" or target.path.suffix == ".onnx":
            files.setdefault(source, target.path)
    if baselines and not files:
        raise InputError("--baselines needs a checkpoint or an ONNX file among the targets")
    if published_decoding and "checkpoint" not in files:
        raise InputError("--published-decoding needs a checkpoint among the targets")
    added = ["published"] if published_decoding else []
    added += [kind for kind, runner in RUNNERS.items() if baselines and runner.is_baseline]
    asked = {(target.kind, target.path) for target in targets}
    for kind in added:
        path = files.get(RUNNERS[kind].source)
        if path is not None and (kind, path) not in asked:
            targets.append(Target(_name(kind, path), kind, path))
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two targets are called {name!r}: name them, as in A={name} B=...")
    return targets


def missing_packages(target: Target) -> list[str]:
    """Return the packages that the target needs and that are not installed."""
    needed = RUNNERS[target.kind].needs(target.path)
    return [name for name in needed if importlib.util.find_spec(name) is None]


def _name(kind: str, path: Path) -> str:
    return path.name if kind in ("torch", "runtime") else f"{kind}:{path.name}"
