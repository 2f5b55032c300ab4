"""Names and forms of artefacts: which go together, and which there are."""

import re
from pathlib import Path

from co2net_export.precision.options import PRECISIONS
from co2net_runtime.artefact.contract import GraphKind, Optimize, Precision
from co2net_runtime.errors import InputError


def sibling(path: Path, kind: GraphKind) -> Path:
    """Return the name of the graph of a kind that goes with NAME.onnx: NAME.KIND.onnx."""
    return path if kind == "whole" else path.with_name(f"{path.stem}.{kind}.onnx")


def check_name(path: Path, precision: Precision) -> None:
    """Raise InputError for a name that is no ONNX file's, or that tells of another precision."""
    if path.suffix != ".onnx":
        raise InputError(f"{path}: give the artefact a name that ends in .onnx")
    for kind in ("chunk", "live"):
        if path.stem.endswith(f".{kind}"):
            raise InputError(f"{path}: NAME.{kind}.onnx is the name of NAME.onnx's {kind} graph")
    words = set(re.split(r"[^a-z0-9-]+", path.stem.lower()))
    for named in (words & set(PRECISIONS), words & {name.partition("-")[0] for name in PRECISIONS}):
        if named and precision not in named and precision.partition("-")[0] not in named:
            raise InputError(f"{path}: the name says {min(named)}, the precision is {precision}")


def check_form(precision: Precision, *, live: bool, optimize: Optimize, bf16: bool) -> None:
    """Raise InputError for a graph that there is not in this precision, or does not run so."""
    if live and precision != "fp32":
        raise InputError(f"the graph for live streams is fp32, not {precision}")
    if optimize == "cpu" and precision != "fp32":
        raise InputError(f"--optimize cpu is a form of the fp32 graph, not of {precision}")
    if bf16 and (optimize == "cpu" or precision == "int8-trt"):
        form = "--optimize cpu" if optimize == "cpu" else precision
        raise InputError(f"--bf16 judges files that run in bfloat16, and those of {form} do not")
