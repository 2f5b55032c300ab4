"""The names of an artefact's files: NAME.onnx, NAME.chunk.onnx, NAME.live.onnx."""

import re
from pathlib import Path

from co2net_export.precision.options import PRECISIONS
from co2net_runtime.artefact.contract import GraphKind, Precision
from co2net_runtime.errors import InputError


def sibling(path: Path, kind: GraphKind) -> Path:
    """Return the name of the graph of a kind that goes with NAME.onnx: NAME.KIND.onnx."""
    return path if kind == "whole" else path.with_name(f"{path.stem}.{kind}.onnx")


def check_name(path: Path, precision: Precision) -> None:
    """Raise InputError for a name that does not end in .onnx, or that names another precision."""
    if path.suffix != ".onnx":
        raise InputError(f"{path}: give the artefact a name that ends in .onnx")
    for kind in ("chunk", "live"):
        if path.stem.endswith(f".{kind}"):
            raise InputError(f"{path}: NAME.{kind}.onnx is the name of NAME.onnx's {kind} graph")
    words = set(re.split(r"[^a-z0-9-]+", path.stem.lower()))
    for named in (words & set(PRECISIONS), words & {name.partition("-")[0] for name in PRECISIONS}):
        if named and precision not in named and precision.partition("-")[0] not in named:
            raise InputError(f"{path}: the name says {min(named)}, the precision is {precision}")
