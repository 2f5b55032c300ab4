import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_benchmarks.cli.describe import describe as command
from co2net_benchmarks.graphs.describe import describe
from co2net_benchmarks.runners.runners import macs_per_snippet
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.errors import InputError

DATA = Path(__file__).parents[2] / "runtime" / "data"
TINY = ModelConfig(classes=3, rgb_dim=6, flow_dim=10, attention_dim=4, embed_dim=12)


@pytest.mark.parametrize("name", ["tiny", "tiny.chunk", "tiny_pool", "tiny_pool.chunk"])
def test_describes_an_artefact(name):
    found = describe(DATA / f"{name}.onnx")
    assert found.contract is not None
    assert found.contract.classes == ("Run", "Jump", "Throw")
    assert found.macs_per_snippet == macs_per_snippet(CO2Net(TINY).state_dict())
    # the two global contexts, once a video
    assert found.macs_per_video == 6 * 6 + 10 * 10
    assert found.inputs["features"] == "float32 (batch, time, 16)"
    assert found.inputs["lengths"] == "int64 (batch)"
    assert found.outputs["attention"] == "float32 (batch, time, 1)"
    assert found.opset == 20
    assert found.checker_error is None
    assert found.inference_error is None
    assert found.external_bytes == 0
    layers = {layer.name: layer for layer in found.layers}
    assert len(layers) == 13
    assert layers["classifier.1"].weight_shape == (12, 12, 3)
    assert layers["classifier.1"].weight_bytes == 12 * 12 * 3 * 4
    assert found.nodes["Conv"] == 11


def test_describes_both_branches_of_an_optimized_file():
    found = describe(DATA / "tiny_cpu.onnx")
    assert found.macs_per_snippet == macs_per_snippet(CO2Net(TINY).state_dict())
    assert found.inference_error is None
    assert found.nodes["If"] == 1
    assert found.nodes["Conv"] == 11
    # each window's product of a convolution stands for itself
    assert {"Conv", "MatMul", "Gemm"} <= {layer.op for layer in found.layers}


def small_graph(path, weight, op="MatMul", rows="time"):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, ["x", "w"], ["y"], name="layer")],
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", rows, 4])],
        [
            onnx.helper.make_tensor_value_info(
                "y", onnx.TensorProto.FLOAT, ["b", "t", len(weight[0])]
            )
        ],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    onnx.save(model, path)
    return model


def test_describes_what_is_not_ours(tmp_path):
    path = tmp_path / "other.onnx"
    small_graph(path, np.ones((4, 5), np.float16).astype(np.float32))
    found = describe(path)
    assert found.contract is None
    assert found.macs_per_snippet == 4 * 5
    assert found.macs_per_video == 0
    assert found.weight_bytes == {"float32": 80}


def test_arithmetic_that_cannot_be_told_is_not_guessed(tmp_path):
    path = tmp_path / "other.onnx"
    small_graph(path, np.ones((4, 5), np.float32), rows="who_knows")
    found = describe(path)
    assert found.macs_per_snippet is None
    assert found.macs_per_video is None


def test_weights_beside_the_file_are_counted_apart(tmp_path):
    model = small_graph(tmp_path / "one.onnx", np.ones((4, 500), np.float32))
    onnx.save(model, tmp_path / "two.onnx", save_as_external_data=True, location="two.data")
    found = describe(tmp_path / "two.onnx")
    assert found.external_bytes == 4 * 500 * 4
    assert found.file_bytes < 1000
    assert found.macs_per_snippet == 2000


def test_says_what_the_checker_objects_to(tmp_path):
    path = tmp_path / "broken.onnx"
    model = small_graph(path, np.ones((3, 5), np.float32))
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    assert "shape inference  passes" not in result.stdout
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    assert "NoSuchOperator" in (describe(path).checker_error or "")


def test_cli_prints_text_and_json():
    path = str(DATA / "tiny.onnx")
    text = CliRunner().invoke(command, [path])
    assert text.exit_code == 0, text.stderr
    for part in ("fp32", "classifier.4", "Run, Jump, Throw", "ONNX checker     passes", "max_abs"):
        assert part in text.stdout
    found = json.loads(CliRunner().invoke(command, [path, "--json"]).stdout)
    assert found["layers"][0]["name"] == "vAttn.channel_conv.0"
    contract = json.dumps({"schema_version": 1, **found["contract"]})
    assert Contract.from_json(contract, "json").rgb_dim == 6


@pytest.mark.parametrize("content", [None, b"", b"no protobuf", b"\x08\x07"])
def test_bad_files_get_one_line(tmp_path, content):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"no such file|not an ONNX file"):
        describe(path)
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
