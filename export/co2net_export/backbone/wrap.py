"""Any other backbone: an ONNX file that gets a contract, and the names that the runtime knows."""

import dataclasses
import os

import numpy as np
import onnx
import onnx.compose
from onnx import TensorProto, helper

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
    output: str | None = None,
    width: int | None = None,
) -> Backbone:
    """Make another backbone's ONNX file ready for export, in the precision it has.

    Args:
        path: The ONNX file: one input (B, channels, frames, crop, crop) float32 with free B.
        stream: What its frames hold.
        name: What the architecture is called.
        frames: Frames of a clip.
        fps: Frames a second.
        short_side: Pixels of the shorter side after resizing.
        crop: Pixels of the side of the center crop.
        scaling: Levels to numbers.
        flow: What the flow stream reads; None for RGB.
        output: Name of the output with the features, where there are several.
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
    _check_shape(feeds, contract, path)

    def reference(clip: Clip) -> Rows:
        try:
            rows = session.run([gives.name], {feeds.name: clip[None]})[0]
        except Exception as error:  # ONNX Runtime's errors share no public base class
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: does not run on a clip {contract.clip_shape}: {reason}"
            ) from error
        return np.asarray(rows, np.float32).reshape(-1)

    found = reference(made_up_clips(contract)[0]).size
    if width is not None and found != width:
        raise InputError(
            f"{path}: a clip gives {found} numbers, --width says {width}: the output must be one "
            "row of features a clip"
        )
    contract = dataclasses.replace(contract, width=found)
    return Backbone(_renamed(model, feeds.name, gives.name, contract), contract, reference)


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
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        names = ", ".join(value.name for value in inputs)
        raise InputError(
            f"{path}: expected one float32 input of clips, found {len(inputs)} inputs ({names})"
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
    value: onnx.ValueInfoProto, contract: BackboneContract, path: str | os.PathLike[str]
) -> None:
    dims = value.type.tensor_type.shape.dim
    declared = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    shown = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
    wanted = contract.clip_shape
    if len(declared) != 5 or any(
        size not in (None, length) for size, length in zip(declared[1:], wanted, strict=True)
    ):
        raise InputError(
            f"{path}: its input has shape ({shown}), the options say clips "
            f"(batch, {', '.join(map(str, wanted))})"
        )
    if declared[0] is not None:
        raise InputError(
            f"{path}: its batch size is fixed at {declared[0]}: export it with a dynamic batch axis"
        )


def _renamed(
    model: onnx.ModelProto,
    feeds: str,
    gives: str,
    contract: BackboneContract,
) -> onnx.ModelProto:
    """Return the model with input `clips` and the one output `features` (B, width)."""
    renamed = onnx.compose.add_prefix(model, "wrapped.")
    graph = renamed.graph
    first = helper.make_node("Identity", [CLIPS_INPUT], [f"wrapped.{feeds}"], name=CLIPS_INPUT)
    last = helper.make_node(
        "Flatten", [f"wrapped.{gives}"], [FEATURES_OUTPUT], name=FEATURES_OUTPUT, axis=1
    )
    nodes = [first, *graph.node, last]
    weights = [value for value in graph.input if value.name != f"wrapped.{feeds}"]
    clips, rows = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes])
        for name, sizes in (
            (CLIPS_INPUT, contract.clip_shape), (FEATURES_OUTPUT, (contract.width,))
        )
    )  # fmt: skip
    for field, values in (("node", nodes), ("input", [clips, *weights]), ("output", [rows])):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    # shapes that another exporter guessed, and traces of the machine it ran on
    graph.ClearField("value_info")
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return renamed
