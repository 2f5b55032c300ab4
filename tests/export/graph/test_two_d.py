"""The form for GPUs: the same sums, and a DequantizeLinear meets its convolution."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from co2net_export.graph.convert import convert
from co2net_export.graph.session import open_graph
from co2net_export.graph.two_d import with_2d_layers
from tests.runtime.data.make_tiny import FOLDER, POOL_KERNELS, tiny_checkpoint, tiny_videos


@pytest.mark.parametrize("kind", ["whole", "chunk"])
@pytest.mark.parametrize("name", POOL_KERNELS)
def test_the_same_numbers(name, kind):
    """Of a padded batch; the pooling layer of one of them becomes 2-D, too."""
    plain = convert(tiny_checkpoint(POOL_KERNELS[name]).build(), kind=kind)
    lifted = with_2d_layers(plain)
    onnx.checker.check_model(lifted, full_check=True)
    batch = np.full((2, 45, 16), np.nan, np.float32)
    for row, length in zip(batch, (40, 17), strict=True):
        row[:length] = tiny_videos()["video_40"][:length]
    feeds = {"features": batch, "lengths": np.array([40, 17])}
    if kind == "chunk":
        feeds["context"] = np.nan_to_num(batch).mean(axis=1)
    for one, other in zip(
        open_graph(plain).run(None, feeds), open_graph(lifted).run(None, feeds), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)


def test_layers_and_names():
    plain = convert(tiny_checkpoint().build())
    lifted = with_2d_layers(plain)
    assert {node.name for node in plain.graph.node} <= {node.name for node in lifted.graph.node}
    tensors = {one.name: one for one in lifted.graph.initializer}
    convolutions = [node for node in lifted.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 11
    for node in convolutions:
        outputs, inputs, height, _ = tensors[node.input[1]].dims
        assert height == 1
        assert (outputs, inputs) != (1, 1)
    kinds = [node.op_type for node in lifted.graph.node]
    # in once, out once before each of the two outputs
    assert kinds.count("Squeeze") == 1 + 2
    assert kinds.count("Unsqueeze") == 1 + [n.op_type for n in plain.graph.node].count("Unsqueeze")


@pytest.mark.parametrize("name", ["tiny.int8-trt", "tiny.int8-trt.chunk", "tiny.fp16"])
def test_nothing_stands_between_a_scale_and_its_convolution(name):
    """Weights and activations of an int8 layer come straight from a DequantizeLinear."""
    graph = onnx.load(FOLDER / f"{name}.onnx").graph
    makers = {output: node for node in graph.node for output in node.output}
    weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    int8 = 0
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        assert onnx.helper.get_node_attr_value(node, "kernel_shape")[0] == 1
        inputs = [makers.get(value) for value in node.input[:2]]
        kinds = [None if one is None else one.op_type for one in inputs]
        assert ("DequantizeLinear" in kinds) == (set(kinds) == {"DequantizeLinear"}), node.name
        if set(kinds) == {"DequantizeLinear"}:
            int8 += 1
            assert weights[inputs[1].input[0]].ndim == 4
    assert int8 == (0 if "fp16" in name else 4)
