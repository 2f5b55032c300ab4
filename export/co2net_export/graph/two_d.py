"""The graph with its layers over time as 2-D convolutions of height 1, for files that GPUs run.

TensorRT has no 1-D convolution: its parser puts an axis in before each and takes it out behind,
for the activation and the weight alike, and so stands between a DequantizeLinear and the
convolution that should fuse with it (onnx-tensorrt 10.1, importerUtils.cpp, convMultiInput). Here
the axis comes in once behind the input and goes out once before each output: (B, C, T) is
(B, C, 1, T) in between.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from co2net_export.graph.shapes import infer_values

# what an attribute of a layer over time says of the axis of height 1
_OF_HEIGHT = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}


def with_2d_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph of `convert` in that form; names of nodes and values stay.

    It computes the same sums: inputs, outputs and weights differ in shape alone.
    """
    ranks = {name: len(value.shape or ()) for name, value in infer_values(model).items()}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    values = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in model.graph.node:
        result.graph.node.extend(_lifted(node, model, ranks, values))
    del result.graph.initializer[:]
    result.graph.initializer.extend(values.values())
    return result


def _lifted(
    original: onnx.NodeProto,
    model: onnx.ModelProto,
    ranks: dict[str, int],
    values: dict[str, onnx.TensorProto],
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes in place of one; `values`, the constants, gets what they need."""
    node = onnx.NodeProto()
    node.CopyFrom(original)
    kind, output = node.op_type, node.output[0]
    if kind in ("Conv", "AveragePool"):
        for attribute in node.attribute:
            if attribute.name in _OF_HEIGHT:
                _add_height(attribute, _OF_HEIGHT[attribute.name])
    if kind == "Conv":
        weight = numpy_helper.to_array(values[node.input[1]])
        if weight.ndim == 3:
            lifted = numpy_helper.from_array(weight[:, :, np.newaxis], node.input[1])
            values[node.input[1]] = lifted
    elif kind == "Unsqueeze" and ranks[output] == 3:
        axis = int(numpy_helper.to_array(values[node.input[1]])[0]) % 3
        node.input[1] = _axes(values, axis, axis + 1)
    elif kind == "ReduceSum" and ranks[node.input[0]] == 3:
        node.input[1] = _axes(values, 2, 3)
    elif kind == "Transpose" and output in {one.name for one in model.graph.output}:
        flat = f"{output}.flat"
        yield onnx.helper.make_node(
            "Squeeze", [node.input[0], _axes(values, 2)], [flat], name=f"{node.name}.flat"
        )
        node.input[0] = flat
    elif kind == "Transpose":
        flat = node.output[0] = f"{output}.flat"
        yield node
        node = onnx.helper.make_node(
            "Unsqueeze", [flat, _axes(values, 2)], [output], name=f"{node.name}.lifted"
        )
    yield node


def _add_height(attribute: onnx.AttributeProto, of_height: int) -> None:
    """Put the number of the new axis before that of time, at either end where there are two."""
    numbers = list(attribute.ints)
    del attribute.ints[:]
    for number in numbers:
        attribute.ints.extend((of_height, number))


def _axes(values: dict[str, onnx.TensorProto], *axes: int) -> str:
    """Return the name of a constant that holds these axes."""
    name = f"axes_{'_'.join(map(str, axes))}"
    values[name] = numpy_helper.from_array(np.array(axes, np.int64), name)
    return name
