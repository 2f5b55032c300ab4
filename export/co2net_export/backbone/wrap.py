"""Any other backbone: an ONNX file that gets a contract, and the names that the runtime knows."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
import onnx.compose
from onnx import TensorProto, helper, numpy_helper

from co2net_export.backbone.clips import Clip, made_up_clips
from co2net_export.backbone.export import Backbone
from co2net_export.backbone.parity import Rows
from co2net_export.graph.session import open_session
from co2net_export.graph.write import versions
from co2net_runtime.artefact.backbone import (
    CLIPS_INPUT,
    FEATURES_OUTPUT,
    UNKNOWN_WEIGHTS,
    BackboneContract,
    BackbonePrecision,
    Flow,
    Scaling,
    Stream,
)
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import sha256

# axes of the input: batch, channels, time, height, width
Layout = Literal["bcthw", "btchw", "bthwc"]
# where an input of each layout finds its axes in a clip (batch, channels, time, height, width)
ORDERS: Mapping[Layout, tuple[int, ...]] = {
    "bcthw": (0, 1, 2, 3, 4),
    "btchw": (0, 2, 1, 3, 4),
    "bthwc": (0, 2, 3, 4, 1),
}


def wrapped_backbone(
    path: str | os.PathLike[str],
    stream: Stream,
    *,
    name: str,
    frames: int,
    fps: float,
    short_side: int,
    crop: int,
    scaling: Scaling,
    flow: Flow | None = None,
    layout: Layout = "bcthw",
    output: str | None = None,
    average: tuple[int, ...] = (),
    width: int | None = None,
) -> Backbone:
    """Make another backbone's ONNX file ready for export, in the precision it has.

    Args:
        path: The ONNX file: one float32 input of clips with a free batch axis.
        stream: What its frames hold.
        name: What the architecture is called.
        frames: Frames of a clip.
        fps: Frames a second.
        short_side: Pixels of the shorter side after resizing.
        crop: Pixels of the side of the center crop.
        scaling: Levels to numbers.
        flow: What the flow stream reads; None for RGB.
        layout: Order of the input's axes.
        output: Name of the output with the features, where there are several.
        average: Axes of the output that are averaged away, as tokens or positions are.
        width: Of a feature row; checked.

    Raises:
        InputError: The file is damaged, or is not as the options say.
    """
    model = _load(path)
    feeds, gives = _input(model, path), _output(model, path, output)
    session = open_session(path)
    contract = BackboneContract(
        stream=stream,
        name=name,
        weights=UNKNOWN_WEIGHTS,
        weights_sha256=sha256(path),
        width=1,
        opset=next(entry.version for entry in model.opset_import if not entry.domain),
        snippet_frames=frames,
        fps=fps,
        short_side=short_side,
        crop=crop,
        scaling=scaling,
        flow=flow,
        precision=_precision(model),
        versions=versions(),
    )
    _check_shape(feeds, contract, layout, path)

    def reference(clip: Clip) -> Rows:
        try:
            batch = clip[None].transpose(ORDERS[layout])
            rows = session.run([gives.name], {feeds.name: np.ascontiguousarray(batch)})[0]
        except Exception as error:  # ONNX Runtime's errors share no public base class
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: does not run on a clip {contract.clip_shape}: {reason}"
            ) from error
        return _row(np.asarray(rows, np.float32), average, path)

    found = reference(made_up_clips(contract)[0]).size
    if width is not None and found != width:
        raise InputError(
            f"{path}: a clip gives {found} numbers, --width says {width}: the output must be one "
            "row of features a clip"
        )
    contract = dataclasses.replace(contract, width=found)
    graph = _renamed(model, feeds.name, gives.name, contract, layout, average)
    return Backbone(graph, contract, reference)


def _row(found: Rows, average: tuple[int, ...], path: str | os.PathLike[str]) -> Rows:
    """Return the features (width,) in the output for one clip."""
    shape = found.shape
    shown = "(" + ", ".join(("batch", *map(str, shape[1:]))) + ")"
    if any(not 1 <= axis < len(shape) for axis in average):
        raise InputError(f"{path}: --average {_list(average)}: its output has shape {shown}")
    rows = np.asarray(found.mean(axis=average, keepdims=True))
    if sum(size > 1 for size in rows.shape[1:]) > 1:
        raise InputError(
            f"{path}: its output has shape {shown}, expected one row of features a clip: name the "
            "axes of positions or tokens, counted from 0, with --average"
        )
    return rows.reshape(-1)


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _load(path: str | os.PathLike[str]) -> onnx.ModelProto:
    try:
        model = onnx.load(os.fspath(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    except Exception as error:  # protobuf's errors have no types
        raise InputError(f"{path}: damaged or truncated, or not an ONNX file") from error
    if not model.graph.node:
        raise InputError(f"{path}: damaged or truncated, or not an ONNX file")
    return model


def _input(model: onnx.ModelProto, path: str | os.PathLike[str]) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    names = ", ".join(value.name for value in inputs)
    if len(inputs) != 1:
        raise InputError(
            f"{path}: expected one input of clips, found {len(inputs)} ({names}): export a network "
            "that takes one clip and picks the frames of its pathways itself"
        )
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise InputError(
            f"{path}: its input {names} is {TensorProto.DataType.Name(kind).lower()}, expected "
            "float32"
        )
    value: onnx.ValueInfoProto = inputs[0]
    return value


def _output(
    model: onnx.ModelProto, path: str | os.PathLike[str], wanted: str | None
) -> onnx.ValueInfoProto:
    names = ", ".join(value.name for value in model.graph.output)
    found = [value for value in model.graph.output if wanted in (None, value.name)]
    if not found:
        raise InputError(f"{path}: no output is called {wanted!r} (it has: {names})")
    if len(found) > 1:
        raise InputError(f"{path}: several outputs ({names}): name the features with --output")
    if found[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise InputError(f"{path}: its output {found[0].name} is not float32")
    value: onnx.ValueInfoProto = found[0]
    return value


def _precision(model: onnx.ModelProto) -> BackbonePrecision:
    """Return the type that the graph computes in, judged by its weights."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8-cpu"
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return "fp16"
    return "fp32"


def _check_shape(
    value: onnx.ValueInfoProto,
    contract: BackboneContract,
    layout: Layout,
    path: str | os.PathLike[str],
) -> None:
    dims = value.type.tensor_type.shape.dim
    declared = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    shown = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
    fitting = [name for name in ORDERS if _fits(declared, _input_shape(contract, name))]
    if layout not in fitting:
        wanted = ", ".join(map(str, _input_shape(contract, layout)[1:]))
        hint = f": is it --layout {fitting[0]}?" if fitting else ""
        raise InputError(
            f"{path}: its input has shape ({shown}), the options say clips (batch, {wanted}){hint}"
        )
    if declared[0] is not None:
        raise InputError(
            f"{path}: its batch size is fixed at {declared[0]}: export it with a dynamic batch axis"
        )


def _input_shape(contract: BackboneContract, layout: Layout) -> tuple[int, ...]:
    """Return the shape of the input for one clip."""
    sizes = (1, *contract.clip_shape)
    return tuple(sizes[axis] for axis in ORDERS[layout])


def _fits(declared: tuple[int | None, ...], wanted: tuple[int, ...]) -> bool:
    return len(declared) == len(wanted) and all(
        size in (None, length) for size, length in zip(declared[1:], wanted[1:], strict=True)
    )


def _renamed(
    model: onnx.ModelProto,
    feeds: str,
    gives: str,
    contract: BackboneContract,
    layout: Layout,
    average: tuple[int, ...],
) -> onnx.ModelProto:
    """Return the model with input `clips` and the one output `features` (B, width)."""
    renamed = onnx.compose.add_prefix(model, "wrapped.")
    graph = renamed.graph
    first = helper.make_node(
        "Transpose", [CLIPS_INPUT], [f"wrapped.{feeds}"], name=CLIPS_INPUT, perm=ORDERS[layout]
    )
    rows = f"wrapped.{gives}"
    nodes = [first, *graph.node]
    if average:
        nodes.append(_mean(graph, rows, "averaged", average, contract.opset))
        rows = "averaged"
    nodes.append(
        helper.make_node("Flatten", [rows], [FEATURES_OUTPUT], name=FEATURES_OUTPUT, axis=1)
    )
    weights = [value for value in graph.input if value.name != f"wrapped.{feeds}"]
    clips, features = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes])
        for name, sizes in (
            (CLIPS_INPUT, contract.clip_shape), (FEATURES_OUTPUT, (contract.width,))
        )
    )  # fmt: skip
    for field, values in (("node", nodes), ("input", [clips, *weights]), ("output", [features])):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    # shapes that another exporter guessed, and traces of the machine it ran on
    graph.ClearField("value_info")
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return renamed


def _mean(
    graph: onnx.GraphProto, value: str, out: str, axes: tuple[int, ...], opset: int
) -> onnx.NodeProto:
    """Return a node that averages axes, which opset 18 made an input."""
    if opset < 18:
        return helper.make_node("ReduceMean", [value], [out], name=out, axes=axes)
    graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), "averaged.axes"))
    return helper.make_node("ReduceMean", [value, "averaged.axes"], [out], name=out)
