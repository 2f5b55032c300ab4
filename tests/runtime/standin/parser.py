"""What TensorRT's ONNX parser does not take, though ONNX Runtime runs it.

Of onnx-tensorrt's docs/operators.md, release 10.1: CumSum for FP32, FP16 and BF16; NonZero for FP32
and FP16; opsets 9 to 20; zero points of quantization are zero, and signed.
"""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

NEWEST_OPSET = {"10.3": 20}
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
TYPES = {"CumSum": FLOATS, "NonZero": FLOATS - {TensorProto.BFLOAT16}}
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


def refusals(content, version):
    """Return why the parser of a TensorRT version refuses a model, as its errors."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    opset = next(one.version for one in model.opset_import if not one.domain)
    newest = NEWEST_OPSET.get(".".join(version.split(".")[:2]), opset)
    found = [f"opset {opset} is beyond {newest}"] if opset > newest else []
    return found + list(_of_graph(model.graph, {}, {}))


def _of_graph(graph, outer_types, outer_values):
    types = dict(outer_types)
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    values = {**outer_values, **{one.name: one for one in graph.initializer}}
    types.update({one.name: one.data_type for one in graph.initializer})
    for node in graph.node:
        allowed = TYPES.get(node.op_type)
        if allowed is not None and types.get(node.input[0], 0) not in allowed:
            yield f"{node.op_type}: Found unsupported datatype"
        if node.op_type in QUANTIZING and len(node.input) > 2 and node.input[2] in values:
            zero = numpy_helper.to_array(values[node.input[2]])
            if zero.dtype == np.uint8 or np.any(zero):
                yield f"{node.op_type}: only symmetric quantization is supported"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _of_graph(attribute.g, types, values)
