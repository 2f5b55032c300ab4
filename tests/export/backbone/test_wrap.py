"""Other backbones, given as ONNX files."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from small_video import write_video

from co2net_export.backbone.cli import main
from co2net_export.graph.session import open_session
from co2net_runtime.artefact.backbone import Flow, Scaling, read_backbone_contract
from co2net_runtime.video.backbone import Backbone
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor

SHAPE = (3, 4, 16, 16)


def network(
    path,
    *,
    batch="N",
    shape=SHAPE,
    names=("video", "pooled"),
    mixing=False,
    width=6,
    kind=TensorProto.FLOAT,
    extra=False,
    opset=18,
):
    """A backbone of one convolution over the whole clip; mixing: the batch's mean is taken off."""
    weight = np.random.default_rng(0).standard_normal((width, *shape)).astype(np.float32) / 50
    nodes = [helper.make_node("Conv", [names[0], "w"], ["convolved"], doc_string="/home/somebody")]
    if mixing:
        nodes.append(helper.make_node("ReduceMean", ["convolved", "axes"], ["mean"], keepdims=1))
        nodes.append(helper.make_node("Sub", ["convolved", "mean"], [names[1]]))
    else:
        nodes.append(helper.make_node("Identity", ["convolved"], [names[1]]))
    outputs = [names[1], *(["convolved"] if extra else [])]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info(names[0], kind, [batch, *shape])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([0]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def invoke(source, out, *options):
    described = ("--stream", "rgb", "--frames", 4, "--crop", 16, "--short-side", 20)
    return CliRunner().invoke(main, [str(value) for value in (source, out, *described, *options)])


@pytest.mark.parametrize("names", [("video", "pooled"), ("clips", "features")])
def test_a_wrapped_network_says_what_it_said(tmp_path, names):
    source, out = network(tmp_path / "x3d.onnx", names=names), tmp_path / "rgb.onnx"
    result = invoke(
        source, out, "--fps", 12.5, "--scaling", "1,2,3:4,5,6", "--name", "x3d-s", "--width", 6
    )
    assert result.exit_code == 0, result.stderr
    contract = read_backbone_contract(out)
    assert (contract.name, contract.width, contract.fps) == ("x3d-s", 6, 12.5)
    assert (contract.clip_shape, contract.short_side) == (SHAPE, 20)
    assert contract.scaling == Scaling((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert (contract.weights, contract.opset, contract.precision) == ("unknown", 18, "fp32")
    assert contract.parity["max_abs"] == 0
    clips = np.random.default_rng(1).standard_normal((5, *SHAPE)).astype(np.float32)
    (found,) = open_session(out).run(["features"], {"clips": clips})
    (expected,) = open_session(source).run([names[1]], {names[0]: clips})
    np.testing.assert_allclose(found, expected.reshape(5, 6), rtol=1e-6, atol=1e-6)
    assert b"/home/somebody" not in out.read_bytes()


def test_one_of_several_outputs(tmp_path):
    source, out = network(tmp_path / "two.onnx", extra=True), tmp_path / "rgb.onnx"
    result = invoke(source, out)
    assert result.exit_code == 2
    assert "several outputs (pooled, convolved): name the features with --output" in result.stderr
    assert "no output is called 'x'" in invoke(source, out, "--output", "x").stderr
    assert invoke(source, out, "--output", "convolved").exit_code == 0
    assert read_backbone_contract(out).name == "two"


def test_a_wrapped_flow_network_says_its_flow(tmp_path):
    source, out = network(tmp_path / "f.onnx", shape=(2, 4, 16, 16)), tmp_path / "flow.onnx"
    options = ("--stream", "flow", "--frames", 4, "--crop", 16)
    arguments = [str(value) for value in (source, out, *options)]
    assert "add --flow-algorithm" in CliRunner().invoke(main, arguments).stderr
    result = CliRunner().invoke(main, [*arguments, "--flow-algorithm", "farneback"])
    assert result.exit_code == 0, result.stderr
    assert read_backbone_contract(out).flow == Flow("farneback")


def tokens(path, layout, shape, *, opset=18, second=False):
    """A transformer's stand-in: patches of 8 x 8 pixels become tokens (batch, tokens, 6)."""
    order = {"btchw": (0, 2, 1, 3, 4), "bthwc": (0, 2, 3, 4, 1)}[layout]
    channels, frames, *_ = shape
    back = np.argsort(order).tolist()
    weight = np.random.default_rng(0).standard_normal((6, channels, frames, 8, 8)) / 50
    nodes = [
        helper.make_node("Transpose", ["pixel_values"], ["video"], perm=back),
        helper.make_node("Conv", ["video", "w"], ["patches"], strides=(1, 8, 8)),
        helper.make_node("Reshape", ["patches", "sizes"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["last_hidden_state"], perm=(0, 2, 1)),
    ]
    declared = ["batch", *(shape[axis - 1] for axis in order[1:])]
    inputs = ["pixel_values", *(["fast"] if second else [])]
    graph = helper.make_graph(
        nodes,
        "transformer",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, declared) for name in inputs],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(np.array([0, 6, -1]), "sizes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path, order


@pytest.mark.parametrize(("layout", "opset"), [("btchw", 18), ("bthwc", 17)])
def test_a_transformer_of_another_layout(tmp_path, layout, opset):
    shape, out = (3, 4, 24, 24), tmp_path / "rgb.onnx"
    source, order = tokens(tmp_path / "mae.onnx", layout, shape, opset=opset)
    options = ("--crop", 24, "--short-side", 24, "--fps", 6.25, "--scaling", "imagenet")
    refused = invoke(source, out, *options)
    assert refused.exit_code == 2
    assert f"clips (batch, 3, 4, 24, 24): is it --layout {layout}?" in refused.stderr
    refused = invoke(source, out, *options, "--layout", layout)
    assert "output has shape (batch, 9, 6), expected one row" in refused.stderr
    result = invoke(source, out, *options, "--layout", layout, "--average", "1", "--width", 6)
    assert result.exit_code == 0, result.stderr
    contract = read_backbone_contract(out)
    assert (contract.clip_shape, contract.width, contract.fps) == (shape, 6, 6.25)
    levels = np.random.default_rng(1).integers(0, 256, (3, 4, 24, 24, 3), dtype=np.uint8)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    numbers = ((levels - mean) / std).transpose(0, 4, 1, 2, 3).transpose(order)
    feeds = {"pixel_values": np.ascontiguousarray(numbers, np.float32)}
    (expected,) = open_session(source).run(["last_hidden_state"], feeds)
    with Backbone.open(out, "rgb") as backbone:
        np.testing.assert_allclose(backbone.features(levels), expected.mean(1), atol=1e-5)


def test_a_network_of_several_pathways_is_refused(tmp_path):
    source, _ = tokens(tmp_path / "slowfast.onnx", "btchw", (3, 4, 16, 16), second=True)
    line = invoke(source, tmp_path / "rgb.onnx").stderr
    assert "expected one input of clips, found 2 (pixel_values, fast): export a" in line


def test_positions_are_averaged(tmp_path):
    """X3D's stand-in: one convolution that leaves 2 x 2 positions, sampled at 30 / 6 fps."""
    weight = np.random.default_rng(0).standard_normal((6, 3, 13, 10, 10)).astype(np.float32) / 50
    graph = helper.make_graph(
        [helper.make_node("Conv", ["video", "w"], ["maps"])],
        "x3d",
        [helper.make_tensor_value_info("video", TensorProto.FLOAT, ["n", 3, "t", "h", "w"])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    source, out = tmp_path / "x3d.onnx", tmp_path / "rgb.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), source
    )
    options = ("--stream", "rgb", "--frames", 13, "--fps", 5, "--short-side", 13, "--crop", 11,
               "--scaling", "unit")  # fmt: skip
    arguments = [str(value) for value in (source, out, *options)]
    refused = CliRunner().invoke(main, arguments)
    assert "(batch, 6, 1, 2, 2), expected one row" in refused.stderr
    for axes, reason in (("2,5", "--average 2,5: its output has shape"), ("x", "2,3,4")):
        refused = CliRunner().invoke(main, [*arguments, "--average", axes])
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.stderr
    result = CliRunner().invoke(main, [*arguments, "--average", "3,4"])
    assert result.exit_code == 0, result.stderr
    # 13 frames at 5 a second: a row every 2.6 s
    write_video(tmp_path / "clip.mp4", 140, size=(26, 30))
    with Extractor.open(out) as extractor, VideoReader(tmp_path / "clip.mp4") as video:
        assert extractor(tmp_path / "clip.mp4").shape == (2, 6)
        clips = [clip.rgb for clip in extractor.clips(video)]
        rows = extractor.rgb.features(np.stack(clips))
    feeds = {"video": np.stack(clips).transpose(0, 4, 1, 2, 3).astype(np.float32) / 255}
    (maps,) = open_session(source).run(["maps"], feeds)
    np.testing.assert_allclose(rows, maps.mean((2, 3, 4)), atol=1e-5)


@pytest.mark.parametrize(
    ("made", "options", "reason"),
    [
        ({"batch": 1}, (), "its batch size is fixed at 1"),
        ({"mixing": True}, (), "depend on the batch"),
        ({}, ("--width", 1024), "a clip gives 6 numbers, --width says 1024"),
        ({}, ("--frames", 8), "its input has shape (N, 3, 4, 16, 16), the options say clips"),
        ({}, ("--crop", 24), "the crop of 24 pixels exceeds the short side of 20"),
        ({}, ("--frames", 0), "snippet_frames must be at least 1"),
        ({}, ("--scaling", "0-1"), "expected symmetric, unit, imagenet or"),
        ({}, ("--scaling", "1,2:1"), "the scaling's mean has 2 values"),
        ({}, ("--precision", "fp16"), "an ONNX file is as it is"),
        ({"kind": TensorProto.FLOAT16}, (), "its input video is float16, expected float32"),
    ],
)
def test_refusals(tmp_path, made, options, reason):
    source, out = tmp_path / "other.onnx", tmp_path / "rgb.onnx"
    network(source, **made)
    result = invoke(source, out, *options)
    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert "error:" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"no onnx", bytes(100)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other.onnx").write_bytes(content)
    result = invoke(tmp_path / "other.onnx", tmp_path / "rgb.onnx")
    assert result.exit_code == 2
    assert "not an ONNX file" in result.stderr
    assert "cannot read" in invoke(tmp_path / "none.onnx", tmp_path / "rgb.onnx").stderr
