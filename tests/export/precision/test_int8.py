import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, numpy_helper

from co2net_export.graph.session import open_graph
from co2net_export.graph.shapes import infer_values
from co2net_export.precision.calibration import collect, min_max
from co2net_export.precision.int8 import (
    SCHEMES,
    _half_up,
    _weight_scale,
    layer_names,
    plan,
    quantize,
)
from co2net_export.precision.options import FINE_LAYERS, FLOAT_LAYERS, PrecisionOptions, lower
from co2net_runtime.errors import InputError

PRECISIONS = tuple(SCHEMES)


@pytest.fixture(scope="module")
def ranges(tiny, tiny_graph):
    values = {
        name
        for scheme in SCHEMES.values()
        for name in plan(tiny_graph, layer_names(tiny_graph), scheme).values
    }
    histograms = collect(tiny_graph, sorted(values), tiny.tiny_videos().values())
    return {name: min_max(histogram) for name, histogram in histograms.items()}


def lowered(graph, precision, ranges, fine=FINE_LAYERS):
    scheme = SCHEMES[precision]
    layers = [name for name in layer_names(graph) if name not in FLOAT_LAYERS]
    return quantize(graph, plan(graph, layers, scheme, fine), scheme, ranges)


def stored(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_are_int8_per_channel_within_half_a_step(tiny_graph, ranges, precision):
    before, after = stored(tiny_graph), stored(lowered(tiny_graph, precision, ranges))
    for name in layer_names(tiny_graph):
        weight = before[f"{name}.weight"]
        if name in FLOAT_LAYERS or (precision == "int8-trt" and name in FINE_LAYERS):
            np.testing.assert_array_equal(after[f"{name}.weight"], weight)
            continue
        assert f"{name}.weight" not in after
        integers, scale = after[f"{name}.weight.int8"], after[f"{name}.weight.scale"]
        assert integers.dtype == np.int8
        assert scale.size == len(weight)
        limit = 63 if precision == "int8-cpu" and name not in FINE_LAYERS else 127
        assert limit - np.abs(integers.astype(int)).max() in ((0, 1) if limit == 127 else (0,))
        shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
        assert (np.abs(integers * shaped - weight) <= shaped * 0.501).all()


def test_cpu_scheme_is_unsigned_with_int32_biases(tiny_graph, ranges):
    graph = lowered(tiny_graph, "int8-cpu", ranges)
    constants = stored(graph)
    for node in graph.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].dtype == np.uint8, node.name
    assert constants["classifier.1.bias.int32"].dtype == np.int32
    assert "classifier.1.bias" not in constants


def test_trt_scheme_is_symmetric_with_float_biases_and_layer_inputs_alone(tiny_graph, ranges):
    graph = lowered(tiny_graph, "int8-trt", ranges)
    constants = stored(graph)
    dequantized = {
        node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"
    }
    readers = {name: node for node in graph.graph.node for name in node.input}
    for node in graph.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8, node.name
            assert not zero.any(), node.name
        if node.op_type == "QuantizeLinear":
            dequantize = readers[node.output[0]]
            assert dequantize.op_type == "DequantizeLinear"
            assert readers[dequantize.output[0]].op_type in ("Conv", "Gemm")
        if node.op_type in ("Conv", "Gemm") and node.name not in (*FLOAT_LAYERS, *FINE_LAYERS):
            # TensorRT takes int8 weights with int8 activations alone
            assert set(node.input[:2]) <= dequantized, node.name
    assert constants["classifier.1.bias"].dtype == np.float32


def test_scales_for_tensorrt_are_float16_as_they_are(tiny_graph, ranges):
    """Rounded later, integers and scale would no longer belong together."""
    constants = stored(lowered(tiny_graph, "int8-trt", ranges))
    scales = [value for name, value in constants.items() if name.endswith(".scale")]
    assert len(scales) == 8
    for scale in scales:
        np.testing.assert_array_equal(scale.astype(np.float16).astype(np.float32), scale)


@given(st.floats(2.0**-23, 2.0**13, width=32))
def test_scales_are_never_rounded_down(scale):
    """Down, the largest number would be clipped."""
    up = float(_half_up(np.float32(scale)))
    assert scale <= up <= scale * (1 + 2**-10) + 2**-24


def test_what_is_not_int8_is_float16(tiny):
    """Of the file for TensorRT: but for the ends, the last layers and the temporal mean."""
    graph = onnx.load(tiny.FOLDER / "tiny.int8-trt.onnx")
    types = {name: value.type for name, value in infer_values(graph).items()}
    for node in graph.graph.node:
        if node.op_type in ("Conv", "Gemm", "LeakyRelu", "Concat", "Mul", "DequantizeLinear"):
            wanted = TensorProto.FLOAT if node.name in FLOAT_LAYERS else TensorProto.FLOAT16
            assert types[node.output[0]] == wanted, node.name
        if node.op_type == "ReduceSum":
            assert types[node.output[0]] == TensorProto.FLOAT


def test_old_opsets_have_no_float16_scales(tiny_graph):
    graph = onnx.version_converter.convert_version(tiny_graph, 18)
    with pytest.raises(InputError, match="int8-trt needs --opset 19"):
        lower(graph, PrecisionOptions("int8-trt"), {})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_outputs_are_close_and_padding_stays_exact(tiny, tiny_graph, ranges, precision):
    graph = lowered(tiny_graph, precision, ranges)
    onnx.checker.check_model(graph, full_check=True)
    session = open_graph(graph)
    video = tiny.tiny_videos()["video_40"]
    padded = np.full((2, 45, 16), np.nan, np.float32)
    padded[0, :40] = video
    padded[1, :17] = video[:17]
    alone = session.run(None, {"features": video[None], "lengths": np.array([40])})
    batch = session.run(None, {"features": padded, "lengths": np.array([40, 17])})
    exact = open_graph(tiny_graph).run(None, {"features": video[None], "lengths": np.array([40])})
    for single, both, expected in zip(alone, batch, exact, strict=True):
        np.testing.assert_allclose(single[0], both[0, :40], rtol=0, atol=1e-6)
        assert not both[0, 40:].any()
        assert not both[1, 17:].any()
        difference = np.abs(single - expected)
        assert 0 < difference.max() < 0.2


def test_onnxruntime_fuses_every_quantized_layer(tiny_graph, ranges, tmp_path):
    """Else the CPU would dequantize and multiply in float: slower than fp32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    content = lowered(tiny_graph, "int8-cpu", ranges).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx").graph
    kinds = [node.op_type for node in optimized.node]
    assert kinds.count("QLinearConv") == 4
    assert kinds.count("Conv") + kinds.count("FusedConv") == len(FLOAT_LAYERS) + 4
    assert kinds.count("Gemm") + kinds.count("FusedGemm") == 2
    # the int8 weights of the layers in float were expanded once, at loading
    assert not any(node.name.endswith(".expanded") for node in optimized.node)
    assert "DequantizeLinear" in kinds


def test_fine_layers_see_more_than_8_bits(tiny, tiny_graph, ranges):
    """Where only the attention heads are quantized, the attention moves far less."""
    scheme = SCHEMES["int8-cpu"]
    video = tiny.tiny_videos()["video_40"][None]
    feeds = {"features": video, "lengths": np.array([40])}
    exact = open_graph(tiny_graph).run(["attention"], feeds)[0]

    def error(fine):
        planned = plan(tiny_graph, FINE_LAYERS, scheme, fine)
        graph = quantize(tiny_graph, planned, scheme, ranges)
        return np.abs(open_graph(graph).run(["attention"], feeds)[0] - exact).mean()

    assert error(FINE_LAYERS) < 0.5 * error(())


def test_layers_can_be_quantized_alone(tiny_graph, ranges):
    scheme = SCHEMES["int8-cpu"]
    graph = quantize(tiny_graph, plan(tiny_graph, ["fusion.0"], scheme), scheme, ranges)
    integers = [name for name, value in stored(graph).items() if value.dtype == np.int8]
    assert "fusion.0.weight.int8" in integers
    assert "classifier.1.weight" in stored(graph)


@given(
    arrays.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32)),
    arrays.arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)),
    st.floats(1e-6, 10),
)
def test_biases_always_fit_into_32_bits(weight, bias, activation_scale):
    scale = _weight_scale(weight, 127, bias, activation_scale)
    assert (scale > 0).all()
    assert (np.abs(weight) / scale[:, None] <= 127.01).all()
    assert (np.abs(bias) / (scale.astype(np.float64) * activation_scale) < 2**31).all()


def test_corrected_biases_leave_no_error_on_average(tiny_graph, ranges):
    """On constant inputs, which are their own mean, a layer's output is what it was."""
    (layer,) = (node for node in tiny_graph.graph.node if node.name == "classifier.1")
    scheme = SCHEMES["int8-trt"]
    chosen = plan(tiny_graph, ["classifier.1"], scheme)
    tensors = {t.name: numpy_helper.to_array(t) for t in tiny_graph.graph.initializer}
    mean = np.linspace(0.1, 2, tensors[layer.input[1]].shape[1])

    def error(means):
        graph = quantize(tiny_graph, chosen, scheme, ranges, means=means)
        stored = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
        (found,) = (node for node in graph.graph.node if node.name == "classifier.1")
        name = layer.input[1]
        weight = stored[f"{name}.int8"] * stored[f"{name}.scale"].reshape(-1, 1, 1)
        change = (weight - tensors[name]).sum(axis=2) @ mean
        return np.abs(change + stored[found.input[2]] - tensors[layer.input[2]]).max()

    assert error({}) > 1e-3
    assert error({layer.input[0]: mean}) < 1e-5
