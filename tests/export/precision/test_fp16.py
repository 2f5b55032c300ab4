import numpy as np
import onnx
import pytest
from onnx import TensorProto

from co2net_export.graph.session import open_graph
from co2net_export.graph.shapes import infer_values
from co2net_export.precision.fp16 import to_half, with_rounding
from co2net_export.precision.options import FLOAT_LAYERS, half_islands
from co2net_runtime.errors import BackendError

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}


@pytest.fixture(scope="module")
def half(tiny_graph):
    return to_half(tiny_graph, half_islands(tiny_graph, FLOAT_LAYERS))


def test_every_node_computes_in_one_float_type(half):
    """What TensorRT's strongly typed networks ask for: no node mixes types but a Cast."""
    types = {name: value.type for name, value in infer_values(half).items()}
    for node in half.graph.node:
        if node.op_type != "Cast":
            found = {types[name] for name in (*node.input, *node.output)} & FLOATS
            assert len(found) <= 1, node.name


def test_layers_are_half_and_the_edges_are_not(half):
    types = {name: value.type for name, value in infer_values(half).items()}
    for node in half.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            wanted = TensorProto.FLOAT if node.name in FLOAT_LAYERS else TensorProto.FLOAT16
            assert types[node.output[0]] == wanted, node.name
        if node.op_type in ("ReduceSum", "Div", "Sigmoid"):
            assert types[node.output[0]] == TensorProto.FLOAT, node.name
    for info in (*half.graph.input, *half.graph.output):
        assert info.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.INT64)
    stored = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert stored["classifier.1.weight.half"] == TensorProto.FLOAT16
    assert "classifier.1.weight" not in stored


def test_half_is_close(tiny, tiny_graph, half):
    features = tiny.tiny_videos()["video_40"][None]
    feeds = {"features": features, "lengths": np.array([40])}
    sessions = [open_graph(graph) for graph in (tiny_graph, half)]
    for expected, found in zip(*(session.run(None, feeds) for session in sessions), strict=True):
        difference = np.abs(expected - found)
        assert 0 < difference.max() < 5e-3


def test_rounding_is_float16s(tiny_graph):
    """Against numpy's float16, on a graph whose one half node is a product."""
    declare = onnx.helper.make_tensor_value_info
    single = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Mul", ["x", "x"], ["y"], name="square")],
            "square",
            [declare("x", TensorProto.FLOAT, ["n"])],
            [declare("y", TensorProto.FLOAT, ["n"])],
        ),
        opset_imports=tiny_graph.opset_import,
        ir_version=10,
    )
    values = np.array([0, 1, -3.1415927, 0.1, 250, 255.9, 257, -300], np.float32)
    graph = with_rounding(to_half(single, ()))
    (found,) = open_graph(graph).run(None, {"x": values})
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
        expected = (half * half).astype(np.float32)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[finite], expected[finite])
    assert not np.isfinite(found[~finite]).any()
    assert (~finite).sum() == 2


def test_rounding_shows_what_onnxruntime_hides(tiny, tiny_graph, half):
    features = tiny.tiny_videos()["video_40"][None]
    feeds = {"features": features, "lengths": np.array([40])}
    exact, as_run, rounded = (
        open_graph(graph).run(None, feeds)[0] for graph in (tiny_graph, half, with_rounding(half))
    )
    assert np.abs(rounded - exact).mean() > np.abs(as_run - exact).mean()
    assert np.abs(rounded - exact).max() < 1e-2


def test_a_weight_beyond_half_is_an_error(tiny_graph):
    graph = onnx.ModelProto()
    graph.CopyFrom(tiny_graph)
    for tensor in graph.graph.initializer:
        if tensor.name == "fusion.0.bias":
            big = np.full(tensor.dims, 7e4, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(big, tensor.name))
    with pytest.raises(BackendError, match=r"fusion.0.bias holds 7e\+04"):
        to_half(graph, ())
