import getpass
import sys

import numpy as np
import onnx
import pytest
import torch

from co2net.config import ModelConfig
from co2net_export.graph import convert as to_onnx
from co2net_export.graph.convert import OPSETS, convert
from co2net_export.graph.session import open_graph
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError


def run(graph, features, lengths):
    return open_graph(graph).run(["cas", "attention"], {"features": features, "lengths": lengths})


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_gives_the_same_numbers(tiny, tiny_graph, opset):
    graph = convert(tiny.tiny_checkpoint().build(), opset=opset)
    assert graph.opset_import[0].version == opset
    features = np.random.default_rng(0).random((2, 6, 16), np.float32)
    lengths = np.array([6, 3])
    for found, expected in zip(
        run(graph, features, lengths), run(tiny_graph, features, lengths), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("opset", [17, 22])
def test_an_opset_out_of_range_says_which_there_are(tiny, opset):
    with pytest.raises(InputError, match=rf"opset {opset}: the exporter writes 18 to 21"):
        convert(tiny.tiny_checkpoint().build(), opset=opset)


def test_equal_models_give_equal_bytes_that_name_no_place(tiny, tiny_graph):
    again = convert(tiny.tiny_checkpoint().build())
    content = again.SerializeToString(deterministic=True)
    assert content == tiny_graph.SerializeToString(deterministic=True)
    traces = [sys.prefix, torch.__file__, __file__, ".py", "site-packages", "/home", "/Users"]
    if len(getpass.getuser()) > 4:  # "root" may be a word
        traces.append(getpass.getuser())
    for trace in traces:
        assert trace.encode() not in content, trace


def test_batch_and_time_are_dynamic_and_layers_bear_their_names(tiny_graph):
    def dims(info):
        return [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]

    declared = {info.name: dims(info) for info in tiny_graph.graph.input}
    assert declared == {"features": ["batch", "time", 16], "lengths": ["batch"]}
    returned = {info.name: dims(info) for info in tiny_graph.graph.output}
    assert returned == {"cas": ["batch", "time", 4], "attention": ["batch", "time", 1]}
    weights = {tensor.name for tensor in tiny_graph.graph.initializer}
    assert {"vAttn.bit_wise_attn.0.weight", "fusion.0.bias", "classifier.4.weight"} <= weights
    layers = [node.name for node in tiny_graph.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 13
    assert "fAttn.attention.5" in layers


def test_a_torch_without_the_exporter_says_so(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"onnxscript.*co2net\[export\]"):
        convert(tiny.tiny_checkpoint().build())


def test_a_failing_exporter_is_one_line(tiny, monkeypatch):
    def fail(*_args, **_options):
        raise torch.onnx.errors.OnnxExporterError("no such thing\nand a long report")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(BackendError, match=r"cannot export the model: no such thing$"):
        convert(tiny.tiny_checkpoint().build())


def test_an_exporter_that_writes_another_opset_is_found_out(tiny, monkeypatch):
    export = to_onnx._torch_export

    def other(adapter, kind, opset):
        return export(adapter, kind, opset - 1)

    monkeypatch.setattr(to_onnx, "_torch_export", other)
    with pytest.raises(BackendError, match="wrote opset 19, not 20"):
        convert(tiny.tiny_checkpoint().build())


def test_biases_of_zero_and_single_classes_export():
    from co2net.model import CO2Net

    config = ModelConfig(classes=1, rgb_dim=2, flow_dim=2, attention_dim=2, embed_dim=2)
    model = CO2Net(config).eval()
    graph = convert(model)
    onnx.checker.check_model(graph, full_check=True)
    features = np.random.default_rng(0).random((1, 4, 4), np.float32)
    cas, attention = run(graph, features, np.array([4]))
    with torch.inference_mode():
        outputs = model(torch.from_numpy(features))
    np.testing.assert_allclose(cas, outputs.cas.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(attention, outputs.attention.numpy(), rtol=0, atol=1e-5)
