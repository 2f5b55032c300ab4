"""Types and shapes of a graph's values, for graphs of any size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from co2net_export.graph.write import EXTERNAL_BYTES


@dataclass(frozen=True)
class Value:
    """Element type (onnx.TensorProto) and shape of a value; None for what is unknown."""

    type: int
    shape: tuple[int | None, ...] | None


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of a tensor's numbers, wherever they are stored."""
    count: int = math.prod(tensor.dims)
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def infer_values(
    model: onnx.ModelProto, dimensions: Mapping[str, int] | None = None
) -> dict[str, Value]:
    """Return the shape and type of each value by ONNX's strict shape inference.

    Large weights are treated as inputs: neither types nor shapes depend on their numbers, and
    inference is limited to 2 GB.

    Args:
        model: The graph.
        dimensions: Numbers for symbolic dimensions of the inputs, by name.

    Raises:
        onnx.shape_inference.InferenceError: The graph contradicts itself.
    """
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    skeleton.graph.name = "skeleton"
    skeleton.graph.node.extend(model.graph.node)
    skeleton.graph.input.extend(model.graph.input)
    for info in model.graph.output:
        # without the declared shape: its dimensions are symbols
        skeleton.graph.output.append(
            onnx.helper.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, None)
        )
    for info in skeleton.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dimensions and dim.dim_param in dimensions:
                dim.dim_value = dimensions[dim.dim_param]
    for tensor in model.graph.initializer:
        if stored_bytes(tensor) < EXTERNAL_BYTES:
            skeleton.graph.initializer.append(tensor)
        else:
            skeleton.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    inferred = onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=True).graph
    values = {
        tensor.name: Value(tensor.data_type, tuple(tensor.dims)) for tensor in inferred.initializer
    }
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        values[info.name] = _value(info.type.tensor_type)
    return values


def _value(declared: onnx.TypeProto.Tensor) -> Value:
    if not declared.HasField("shape"):
        return Value(declared.elem_type, None)
    return Value(
        declared.elem_type,
        tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in declared.shape.dim),
    )
