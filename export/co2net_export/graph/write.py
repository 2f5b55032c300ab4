"""Writes artefacts: contract in the metadata, equal bytes for equal models, all files or none."""

import glob
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx

from co2net_runtime.artefact.backbone import BackboneContract
from co2net_runtime.artefact.contract import METADATA_KEY, Contract
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.files.atomic import atomic_path
from co2net_runtime.files.lock import lock
from co2net_runtime.version import VERSION

# protobuf's limit on one message
MAX_FILE_BYTES = 2**31 - 1
# smaller tensors (scales, shapes) stay in the graph's file, where shape inference reads them
EXTERNAL_BYTES = 1024


def versions() -> Mapping[str, str]:
    """Return the versions of the programs that make an artefact and measure its parity."""
    found = {"co2net": VERSION}
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def set_contract(model: onnx.ModelProto, contract: Contract | BackboneContract) -> None:
    """Write the contract into the model's metadata, as JSON for programs, key by key for people."""
    text = contract.to_json()
    model.producer_name, model.producer_version = "co2net", VERSION
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: text, **_flat_metadata(json.loads(text))})


def _flat_metadata(contract: Mapping[str, Any]) -> dict[str, str]:
    """Return a contract's plain values and lists of names as texts, for viewers of ONNX files."""
    flat = {}
    for key, value in contract.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            flat[f"{METADATA_KEY}.{key}"] = ", ".join(value)
        elif isinstance(value, str | int | float):
            flat[f"{METADATA_KEY}.{key}"] = str(value)
    return flat


def write_model(model: onnx.ModelProto, path: Path, *, external_data: bool = False) -> None:
    """Write the graph; equal models give equal bytes.

    One self-contained file, or with external_data the graph at `path` and the weights beside it
    in the same name with `.data` appended.

    Raises InputError if it cannot be written.
    """
    size = model.ByteSize()
    if size > MAX_FILE_BYTES and not external_data:
        raise InputError(
            f"{path.name}: {size / 1e9:.1f} GB, and one ONNX file holds 2 GB: add --external-data"
        )
    try:
        if external_data:
            _write_with_external_data(model, path)
        else:
            path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise InputError(
            f"{path.name} ({size / 1e6:.0f} MB) cannot be written: {error.strerror}"
        ) from error


def check_file(path: Path) -> None:
    """Raise BackendError unless the file passes ONNX's checker and shape inference."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BackendError(f"{path.name}: ONNX's checker refuses the graph: {reason}") from error


def _write_with_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Write the weights beside the graph, in the order of the graph."""
    # a copy: onnx would otherwise empty the caller's tensors
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    location = f"{path.name}.data"
    with (path.parent / location).open("wb") as file:
        for tensor in graph.graph.initializer:
            if len(tensor.raw_data) < EXTERNAL_BYTES:
                continue
            offset = file.tell()
            length = file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(graph.SerializeToString(deterministic=True))


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; its files move to target's folder on success only.

    Files that belong together (a graph, its external data, the chunk graph) appear together.

    Raises:
        InputError: The folder cannot be written, or another process is writing `target`.
    """
    with lock(target):
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.*"):
            # of a process that was killed: whoever else writes holds the lock
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
            yield Path(name)
            for file in sorted(Path(name).iterdir()):
                with atomic_path(target.parent / file.name) as temporary:
                    file.replace(temporary)
