"""ONNX files read without the package onnx: the contract, and where the weights are."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.wire_format import DamagedError, Field, delimited, fields, varint
from co2net_runtime.errors import InputError
from co2net_runtime.files.inputs import require_file

# field numbers of the ONNX format
GRAPH, METADATA_PROPS = 7, 14  # of ModelProto
KEY, VALUE = 1, 2  # of StringStringEntryProto
INITIALIZER = 5  # of GraphProto
RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 9, 13, 14  # of TensorProto
EXTERNAL = 1  # of TensorProto.DataLocation

# smaller tensors (shapes, scales) stay in the graph, where an engine's optimizer reads them
MIN_WEIGHT_BYTES = 1024


def read_contract(path: str | os.PathLike[str]) -> Contract:
    """Read the contract of a model's ONNX file.

    Raises InputError if the file is missing, empty, truncated or no ONNX file, ContractError if
    it has no contract.
    """
    return Contract.from_metadata(read_metadata(path), str(path))


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the metadata map of the ONNX file.

    Raises InputError if the file is missing, empty, truncated or no ONNX file.
    """
    metadata: dict[str, str] = {}
    with _opened(path) as (view, model):
        for field in model:
            if field.number == METADATA_PROPS:
                entry = {
                    part.number: bytes(view[part.content : part.end]).decode()
                    for part in fields(view, field.content, field.end)
                }
                metadata[entry.get(KEY, "")] = entry.get(VALUE, "")
    return metadata


@dataclass(frozen=True)
class GraphApart:
    """An ONNX file's graph without its weights."""

    model: bytes  # an ONNX model whose weights are external data in `folder`/`file`
    folder: Path  # of the file itself, links resolved
    file: str  # its name


def read_graph(path: str | os.PathLike[str]) -> GraphApart | None:
    """Return the graph without its weights, so that an engine can map these from the file.

    None if the file holds no weights: they are in other files, which the engine finds by itself,
    beside the file or, where that is a symbolic link, beside the link.

    Raises InputError if the file is missing, empty, truncated or no ONNX file.
    """
    # engines refuse weights outside the graph's folder, also by a symbolic link
    file = Path(path).resolve()
    parts = []
    with _opened(path) as (view, model):
        for field in model:
            if field.number == GRAPH:
                graph = _without_weights(view, field, file.name)
                if graph is None:
                    return None
                parts.append(delimited(GRAPH, graph))
            else:
                parts.append(bytes(view[field.start : field.end]))
    return GraphApart(b"".join(parts), file.parent, file.name)


def weight_files(path: str | os.PathLike[str]) -> set[str]:
    """Return the names of the files that hold weights of the ONNX file, relative to its folder.

    Raises InputError if the file is missing, empty, truncated or no ONNX file.
    """
    names: set[str] = set()
    with _opened(path) as (view, model):
        for graph in model:
            if graph.number == GRAPH:
                for tensor in fields(view, graph.content, graph.end):
                    if tensor.number == INITIALIZER:
                        names.update(_locations(view, tensor))
    return names


def _locations(view: memoryview, tensor: Field) -> Iterator[str]:
    for part in fields(view, tensor.content, tensor.end):
        if part.number == EXTERNAL_DATA:
            entry = {
                one.number: bytes(view[one.content : one.end])
                for one in fields(view, part.content, part.end)
            }
            if entry.get(KEY) == b"location":
                yield entry.get(VALUE, b"").decode()


def _without_weights(view: memoryview, graph: Field, file: str) -> bytes | None:
    """Return the graph with its weights in `file`; None if it holds none."""
    parts, found = [], False
    for field in fields(view, graph.content, graph.end):
        weights = _weights(view, field)
        found = found or weights is not None
        if weights is None:
            parts.append(bytes(view[field.start : field.end]))
            continue
        tensor = [
            bytes(view[part.start : part.end])
            for part in fields(view, field.content, field.end)
            if part.number != RAW_DATA
        ]
        place = {
            "location": file,
            "offset": str(weights.content),
            "length": str(weights.end - weights.content),
        }
        for key, value in place.items():
            entry = delimited(KEY, key.encode()) + delimited(VALUE, value.encode())
            tensor.append(delimited(EXTERNAL_DATA, entry))
        tensor.append(varint(DATA_LOCATION << 3) + varint(EXTERNAL))
        parts.append(delimited(INITIALIZER, b"".join(tensor)))
    return b"".join(parts) if found else None


def _weights(view: memoryview, field: Field) -> Field | None:
    """Return the numbers of a large initializer, None if the field is something else."""
    if field.number != INITIALIZER or field.end - field.content < MIN_WEIGHT_BYTES:
        return None
    for part in fields(view, field.content, field.end):
        if part.number == RAW_DATA and part.end - part.content >= MIN_WEIGHT_BYTES:
            return part
    return None


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[memoryview, list[Field]]]:
    """Map the file; yield it and its model's fields."""
    file = require_file(path)
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        with (
            file.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            model = list(fields(view))
            if not any(field.number == GRAPH for field in model):
                raise DamagedError
            yield view, model
    except (DamagedError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged or truncated, or not an ONNX file") from error
