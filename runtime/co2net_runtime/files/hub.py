"""Models on the Hugging Face Hub, by names such as hf://org/name: downloaded once, then cached."""

import os
import re
from pathlib import Path

from co2net_runtime.errors import InputError, MissingDependencyError

# one slash where the name went through pathlib
_NAME = re.compile(
    r"hf:/{1,2}(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+\.onnx))?"
)
# graphs that belong to a model, and run with it
_BESIDE = (".chunk.onnx", ".live.onnx")


def local_model(path: str | os.PathLike[str]) -> str:
    """Return the local path of a model; a path that is not on the Hub is returned unchanged.

    Args:
        path: hf://ORG/NAME, hf://ORG/NAME/FILE.onnx, either with a revision behind the name:
            hf://ORG/NAME@v1. Without FILE the repository must hold one model, or model.onnx.
            What stands beside it (FILE.chunk.onnx, FILE.live.onnx, FILE.onnx.data) comes along.

    Raises:
        InputError: The name is not of this form, or there is no such model; with HF_HUB_OFFLINE=1,
            none in the cache.
        MissingDependencyError: huggingface_hub is not installed.
    """
    text = os.fspath(path)
    if not text.startswith("hf:/"):
        return text
    name = _NAME.fullmatch(text)
    if name is None:
        raise InputError(f"{text}: expected hf://ORG/NAME or hf://ORG/NAME/FILE.onnx")
    file = name["file"]
    wanted = ["*.onnx", "*.onnx.data"] if file is None else [f"{file.removesuffix('.onnx')}.*"]
    folder = _snapshot(text, name["repo"], name["revision"], wanted)
    return str(folder / (_only_model(folder, text) if file is None else _existing(folder, file)))


def _snapshot(text: str, repo: str, revision: str | None, wanted: list[str]) -> Path:
    # it reports usage otherwise
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError("huggingface_hub", "hub", text) from error
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except Exception as error:  # what it and its HTTP library raise share no base class
        reason = " ".join(str(error).split())
        raise InputError(f"{text}: cannot be had from the Hugging Face Hub: {reason}") from error


def _only_model(folder: Path, text: str) -> str:
    found = [path.name for path in sorted(folder.glob("*.onnx"))]
    models = [name for name in found if not name.endswith(_BESIDE)]
    if "model.onnx" in models:
        return "model.onnx"
    if len(models) != 1:
        names = ", ".join(models) or "none"
        raise InputError(f"{text}: expected one model, found {names}: name it: {text}/FILE.onnx")
    return models[0]


def _existing(folder: Path, file: str) -> str:
    if not (folder / file).is_file():
        raise InputError(f"{folder}: no {file} in this model's repository")
    return file
