"""fp32 graph -> fp16 graph with fp32 islands, strongly typed by explicit casts."""

from collections.abc import Container

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from co2net_export.graph.shapes import infer_values
from co2net_runtime.errors import BackendError

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
FLOATS = {FLOAT, HALF}
_SUFFIXES: dict[int, str] = {FLOAT: "float", HALF: "half"}


def to_half(model: onnx.ModelProto, islands: Container[str]) -> onnx.ModelProto:
    """Return `model` with its weights and arithmetic in float16, inputs and outputs in float32.

    islands: names of the nodes that keep computing in float32. The casts in the graph alone decide
    the types of all values, so that an engine needs no precision flag, and TensorRT's strongly
    typed networks build exactly this graph.

    Raises BackendError if a weight leaves float16's range.
    """
    types = {name: value.type for name, value in infer_values(model).items()}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    half: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()
    kept: dict[str, onnx.TensorProto] = {}

    def as_type(name: str, wanted: int) -> str:
        """Return the name of value `name` in the wanted float type; add a cast if needed."""
        if types.get(name) != FLOAT:
            if name in weights:
                kept[name] = weights[name]
            return name
        if name in weights:
            tensor = weights[name] if wanted == FLOAT else _half_tensor(weights[name])
            kept[tensor.name] = tensor
            return tensor.name
        if (name in half) == (wanted == HALF):
            return name
        cast = f"{name}.{_SUFFIXES[wanted]}"
        if cast not in casts:
            casts.add(cast)
            nodes.append(_cast(name, cast, wanted, of=name))
        return cast

    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        wanted = FLOAT if node.name in islands or node.op_type == "Cast" else HALF
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [as_type(name, wanted) for name in node.input]
        nodes.append(copy)
        if wanted == FLOAT:
            continue
        for index, name in enumerate(node.output):
            if types.get(name) != FLOAT:
                continue
            if name in outputs:
                copy.output[index] = f"{name}.half"
                nodes.append(_cast(f"{name}.half", name, FLOAT, of=name))
            else:
                half.add(name)

    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    del result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(kept.values())
    return result


def _cast(value: str, result: str, to: int, *, of: str) -> onnx.NodeProto:
    name = f"Cast.{of}.{_SUFFIXES[to]}"
    return onnx.helper.make_node("Cast", [value], [result], name=name, to=to)


def edges(model: onnx.ModelProto, layers: Container[str]) -> frozenset[str]:
    """Return the names of the nodes that come before all `layers`, or after all of them."""
    fed: set[str] = set()
    before, after = set(), set()
    for node in model.graph.node:
        if node.name in layers or fed.intersection(node.input):
            fed.update(node.output)
        else:
            before.add(node.name)
    needed: set[str] = set()
    for node in reversed(model.graph.node):
        if node.name in layers or needed.intersection(node.output):
            needed.update(node.input)
        else:
            after.add(node.name)
    return frozenset(before | after)


def _half_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise BackendError(
            f"{tensor.name} holds {np.abs(values).max():.3g}, above float16's largest number "
            "65504: export with --precision fp32"
        )
    return numpy_helper.from_array(rounded, f"{tensor.name}.half")


def with_rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float16 graph as a float32 graph that rounds wherever float16 would.

    ONNX Runtime's CPU provider runs neighboring float16 nodes in float32 and rounds only where
    it leaves them; a GPU rounds after every kernel. This graph imitates a GPU on a CPU:
    every value of a float16 node is rounded to float16's 11 bits, or is infinite outside its
    range; sums are in float32. Subnormal numbers alone keep more bits than float16 has.
    """
    types = {name: value.type for name, value in infer_values(model).items()}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    del result.graph.initializer[:]
    for tensor in model.graph.initializer:
        if tensor.data_type == HALF:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor = numpy_helper.from_array(values, tensor.name)
        result.graph.initializer.append(tensor)
    result.graph.initializer.extend(
        numpy_helper.from_array(np.float32(value), name) for name, value in _ROUNDING.items()
    )
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type == "Cast" and {types[node.input[0]], types[node.output[0]]} <= FLOATS:
            copy.op_type = "Identity"
            del copy.attribute[:]
        rounded = [name for name in node.output if types[name] == HALF]
        copy.output[:] = [f"{name}.exact" if name in rounded else name for name in node.output]
        result.graph.node.append(copy)
        for name in rounded:
            result.graph.node.extend(_round(f"{name}.exact", name))
    return result


# 65536 times `range` overflows float32 to infinity, and `unrange` brings all smaller values back.
# `splitter` is Veltkamp's constant c: c x - (c x - x) keeps the leading 24 - 13 bits of x
_ROUNDING = {"round.range": 2.0**112, "round.unrange": 2.0**-112, "round.splitter": 2.0**13 + 1}


def _round(value: str, result: str) -> list[onnx.NodeProto]:
    """Return nodes that round a float32 value to float16."""
    high, finite, scaled, rest = (
        f"{value}.{part}" for part in ("high", "finite", "scaled", "rest")
    )
    return [
        onnx.helper.make_node(operator, inputs, [output], name=f"{output}.round")
        for operator, inputs, output in (
            ("Mul", [value, "round.range"], high),
            ("Mul", [high, "round.unrange"], finite),
            ("Mul", [finite, "round.splitter"], scaled),
            ("Sub", [scaled, finite], rest),
            ("Sub", [scaled, rest], result),
        )
    ]
