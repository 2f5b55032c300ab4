"""Where two graphs part: their intermediate tensors compared in topological order."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from co2net_export.session import open_graph
from co2net_runtime.errors import InputError

TOLERANCES = MappingProxyType({"fp32": 1e-5, "fp16": 5e-3, "int8-cpu": 5e-2, "int8-trt": 5e-2})
"""Difference in units of max(1, largest absolute value of the tensor) from which one counts as
diverged, by precision."""

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TensorStep:
    """One tensor that both graphs compute.

    node: the node that makes it, op: its operator, in the artefact. max_abs: largest absolute
    difference, None where there is none to speak of: another shape, or values that are not
    finite. scale: max(1, largest absolute value in the reference). diverged: whether the ratio of
    the two exceeds the tolerance.
    """

    tensor: str
    node: str
    op: str
    max_abs: float | None
    scale: float
    diverged: bool


def bisect(
    reference: onnx.ModelProto, artefact: onnx.ModelProto, feeds: Feeds, tolerance: float
) -> tuple[TensorStep, ...]:
    """Run both graphs with all intermediate tensors as outputs and compare those both name.

    The steps stand in the topological order of the artefact's graph; the first with `diverged` is
    where to look. Graphs in another precision keep the names of the fp32 graph's tensors.
    Quantised tensors are compared as the graph defines them: an engine that fuses the operators
    between them may round elsewhere.

    Raises InputError if the graphs share no tensor, BackendError if ONNX Runtime refuses one.
    """
    artefact, reference = (onnx.shape_inference.infer_shapes(one) for one in (artefact, reference))
    ours, theirs = _makers(artefact), _makers(reference)
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError("the two graphs have no tensor name in common: nothing to compare")
    expected = _run(reference, shared, feeds)
    found = _run(artefact, shared, feeds)
    return tuple(_step(name, ours[name], expected[name], found[name], tolerance) for name in shared)


def first_diverging(steps: tuple[TensorStep, ...]) -> TensorStep | None:
    """Return the first tensor above the tolerance, None if there is none."""
    return next((step for step in steps if step.diverged), None)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises InputError if it is no such file."""
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no stable public name
        raise InputError(f"{path}: bisecting needs an ONNX file") from error


def _makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes each tensor, in topological order (ONNX demands it of nodes)."""
    typed = {info.name for info in (*model.graph.value_info, *model.graph.output)}
    return {name: node for node in model.graph.node for name in node.output if name in typed}


def _run(model: onnx.ModelProto, names: list[str], feeds: Feeds) -> dict[str, Any]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(info for info in model.graph.value_info if info.name in names)
    session = open_graph(opened)
    wanted = {entry.name for entry in session.get_inputs()}
    values = session.run(names, {name: feed for name, feed in feeds.items() if name in wanted})
    return dict(zip(names, values, strict=True))


def _step(
    name: str, node: onnx.NodeProto, expected: Any, found: Any, tolerance: float
) -> TensorStep:
    a, b = (np.asarray(value).astype(np.float64) for value in (expected, found))
    scale = max(1.0, float(np.abs(a).max(initial=0.0)))
    max_abs = None
    if a.shape == b.shape and np.isfinite(b).all():
        max_abs = float(np.abs(a - b).max(initial=0.0))
    return TensorStep(
        tensor=name,
        node=node.name,
        op=node.op_type,
        max_abs=max_abs,
        scale=scale,
        diverged=max_abs is None or max_abs > tolerance * scale,
    )
