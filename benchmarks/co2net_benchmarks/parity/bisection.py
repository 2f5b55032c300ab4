"""Where two graphs diverge: their intermediate tensors compared in topological order."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from co2net_benchmarks.graphs.branches import Branch, branches_of, makers
from co2net_benchmarks.parity.results import TensorStep
from co2net_export.graph.session import open_graph
from co2net_runtime.errors import InputError

TOLERANCES = MappingProxyType(
    # its branch with Winograd's algorithm rounds more
    {"fp32": 1e-5, "fp32-cpu": 1e-4, "fp16": 5e-3, "int8-cpu": 5e-2, "int8-trt": 5e-2}
)
"""Difference in units of max(1, largest absolute value of the tensor) from which one counts as
diverged, by precision; fp32-cpu: a file of `co2net-export --optimize cpu`."""

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]


def bisect(
    reference: onnx.ModelProto, artefact: onnx.ModelProto, feeds: Feeds, tolerance: float
) -> tuple[TensorStep, ...]:
    """Run both graphs with all intermediate tensors as outputs and compare those both name.

    Graphs in another precision keep the names of the fp32 graph's tensors. Of a file with several
    branches each is run, whichever the video's length would choose, and packed rows are put back
    into the order of snippets. Quantized tensors are compared as the graph defines them: an
    engine that fuses the operators between them may round elsewhere.

    Args:
        reference: A fresh fp32 export.
        artefact: The graph to examine.
        feeds: Inputs of both.
        tolerance: In units of max(1, largest absolute value of the tensor).

    Returns:
        The tensors in the artefact's topological order: the first that diverged is where to look.

    Raises InputError if the graphs share no tensor, BackendError if ONNX Runtime refuses one.
    """
    reference = onnx.shape_inference.infer_shapes(reference)
    known = _typed(reference)
    theirs = {name: node for name, node in makers(reference).items() if name in known}
    branches = list(branches_of(artefact, theirs))
    wanted = {plain for branch in branches for plain, _ in branch.pairs}
    if not wanted:
        raise InputError("the two graphs have no tensor name in common: nothing to compare")
    expected = _run(reference, wanted, feeds)
    return tuple(step for branch in branches for step in _steps(branch, expected, feeds, tolerance))


def _steps(branch: Branch, expected: Feeds, feeds: Feeds, tolerance: float) -> list[TensorStep]:
    model = onnx.shape_inference.infer_shapes(branch.model)
    ours, known = makers(model), _typed(model)
    pairs = [(plain, name) for plain, name in branch.pairs if name in known]
    rows = {branch.rows} if branch.rows is not None else set()
    found = _run(model, {name for _, name in pairs} | rows, feeds)
    steps = []
    for plain, name in pairs:
        values = found[name]
        if branch.rows is not None and values.ndim == 2 and expected[plain].ndim == 3:
            values = values[found[branch.rows]].transpose(0, 2, 1)  # (R, C) to (B, C, T)
        if values.ndim == 4:  # files for GPUs: (B, C, 1, T)
            values = values.squeeze(2)
        steps.append(_step(name, ours[name], expected[plain], values, tolerance))
    return steps


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises InputError if it is not one."""
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no stable public name
        raise InputError(f"{path}: bisecting needs an ONNX file") from error


def _typed(model: onnx.ModelProto) -> set[str]:
    """Return the tensors whose type is known, so that they can be outputs."""
    return {info.name for info in (*model.graph.value_info, *model.graph.output)}


def _run(model: onnx.ModelProto, names: Collection[str], feeds: Feeds) -> dict[str, Array]:
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.extend(info for info in model.graph.value_info if info.name in names)
    session = open_graph(opened)
    inputs = {entry.name for entry in session.get_inputs()}
    wanted = sorted(names)
    values = session.run(wanted, {name: feed for name, feed in feeds.items() if name in inputs})
    return dict(zip(wanted, values, strict=True))


def _step(
    name: str, node: onnx.NodeProto, expected: Array, found: Array, tolerance: float
) -> TensorStep:
    a, b = (value.astype(np.float64) for value in (expected, found))
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
