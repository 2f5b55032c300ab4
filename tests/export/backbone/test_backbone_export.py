"""Small I3D networks through co2net-backbone, and what its files say."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from small_i3d import small_i3d
from small_video import picture, write_backbone, write_video

from co2net.backbone.weights import read_weights
from co2net_export.backbone.cli import main
from co2net_export.backbone.clips import made_up_clips, scaled, video_clips
from co2net_export.backbone.export import Backbone, export_backbone, i3d_backbone
from co2net_export.backbone.graph import i3d_graph
from co2net_export.backbone.int8 import (
    backbone_plan,
    quantize_backbone,
    shared_ranges,
)
from co2net_export.backbone.parity import FeatureGate, compare
from co2net_export.graph.session import open_graph, open_session
from co2net_export.precision.calibration import Range
from co2net_runtime.artefact.backbone import Flow, Scaling, read_backbone_contract
from co2net_runtime.errors import GateError, InputError
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of both streams, and clips."""
    folder = tmp_path_factory.mktemp("weights")
    for stream, channels in (("rgb", 3), ("flow", 2)):
        torch.save(small_i3d(channels, divisor=16).state_dict(), folder / f"{stream}.pt")
    write_video(folder / "videos" / "a.mp4", 34)
    write_video(folder / "videos" / "b.mp4", 36, make=lambda index, *size: picture(-index, *size))
    return folder


@pytest.fixture(scope="module")
def rgb(files):
    return i3d_backbone(read_weights(files / "rgb.pt", "rgb"), "rgb", logits=True)


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def failure(*arguments, code=2):
    """The one line on stderr of a command that must fail."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(line) == 1, result.stderr
    return line[0]


def test_the_graph_is_the_network_at_an_odd_size_too():
    model = small_i3d(2, divisor=16)
    graph = i3d_graph(model, (19, 229, 251), logits=True)
    onnx.checker.check_model(graph, full_check=True)
    clips = np.random.default_rng(0).uniform(-1, 1, (1, 2, 19, 229, 251)).astype(np.float32)
    found = open_graph(graph).run(None, {"clips": clips})
    for mine, theirs in zip(found, model(torch.from_numpy(clips)), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=2e-5)


def test_the_graph_is_folded_named_and_traceless(rgb):
    nodes = rgb.graph.graph.node
    operators = {node.op_type for node in nodes}
    assert operators == {
        "Conv", "Relu", "MaxPool", "Concat", "AveragePool", "Flatten", "Gemm"
    }  # fmt: skip
    names = {tensor.name for tensor in rgb.graph.graph.initializer}
    assert {"Mixed_5c.b2b.conv3d.weight", "Mixed_5c.b2b.conv3d.bias"} <= names
    assert not any(node.doc_string or node.metadata_props for node in nodes)
    pool = next(node for node in nodes if node.name == "MaxPool3d_2a_3x3")
    pads = next(attribute.ints for attribute in pool.attribute if attribute.name == "pads")
    assert list(pads) == [0, 0, 0, 0, 1, 1]


def test_the_command_writes_a_proven_file(files, tmp_path):
    out = tmp_path / "rgb.onnx"
    result = invoke(files / "rgb.pt", out, "--stream", "rgb", "--logits")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}\n"
    assert "weights: unknown" in result.stderr
    contract = read_backbone_contract(out)
    weights = read_weights(files / "rgb.pt", "rgb")
    assert (contract.name, contract.width, contract.classes) == ("i3d/16", 64, 5)
    assert contract.weights_sha256 == weights.sha256
    assert contract.parity["max_abs"] < 1e-4
    assert contract.parity["gate"]["max_abs"] == 1e-5
    clips = np.stack(made_up_clips(contract)[:2])
    features, logits = open_session(out).run(None, {"clips": clips})
    expected = weights.build()(torch.from_numpy(clips))
    np.testing.assert_allclose(features, expected[0], atol=1e-4)
    np.testing.assert_allclose(logits, expected[1], atol=1e-4)
    again = tmp_path / "again.onnx"
    assert invoke(files / "rgb.pt", again, "--stream", "rgb", "--logits").exit_code == 0
    assert out.read_bytes() == again.read_bytes()


def test_flow_says_which_flow(files, tmp_path):
    out = tmp_path / "flow.onnx"
    line = failure(files / "flow.pt", out, "--stream", "flow")
    assert "add --flow-algorithm" in line
    result = invoke(
        files / "flow.pt", out, "--stream", "flow", "--flow-algorithm", "tvl1-half", "--quiet"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert read_backbone_contract(out).flow == Flow("tvl1-half")


def test_published_flow_weights_were_trained_on_tvl1(files, tmp_path, monkeypatch):
    monkeypatch.setattr("co2net.backbone.weights.identify", lambda _state: "flow_imagenet")
    result = invoke(files / "flow.pt", tmp_path / "f.onnx", "--stream", "flow")
    assert "weights: flow_imagenet" in result.stderr
    contract = read_backbone_contract(tmp_path / "f.onnx")
    assert (contract.weights, contract.flow) == ("flow_imagenet", Flow("tvl1"))


def test_fp16(rgb, tmp_path):
    artefact = export_backbone(rgb, tmp_path / "rgb.fp16.onnx", precision="fp16")
    assert artefact.contract.precision == "fp16"
    assert 0.9999 < artefact.parity.cosine_min < 1
    types = {tensor.data_type for tensor in onnx.load(artefact.path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types


def test_int8(files, tmp_path):
    out = tmp_path / "rgb.int8-cpu.onnx"
    result = invoke(
        files / "rgb.pt", out, "--stream", "rgb", "--precision", "int8-cpu",
        "--calibration", files / "videos", "--gate", "max_abs=none", "--gate", "cosine=0.95",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    contract = read_backbone_contract(out)
    assert contract.precision == "int8-cpu"
    # three calibrate, one judges
    assert contract.parity["clips"] == 1
    assert contract.parity["gate"] == {"cosine": 0.95, "max_abs": None}
    graph = onnx.load(out).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    quantized = [name for name in weights if name.endswith("conv3d.weight.int8")]
    assert len(quantized) == 57
    scales = onnx.numpy_helper.to_array(weights["Mixed_4b.b0.conv3d.weight.scale"])
    assert scales.shape == (12,)


def test_int8_needs_clips(files, tmp_path):
    line = failure(
        files / "rgb.pt", tmp_path / "o.onnx", "--stream", "rgb", "--precision", "int8-cpu"
    )
    assert "name them with --calibration" in line


def test_what_moves_through_pooling_and_joining_has_one_scale(rgb):
    plan = backbone_plan(rgb.graph)
    assert len(plan.layers) == 57
    ranges = {name: Range(-float(number), 1.0) for number, name in enumerate(plan.values)}
    shared = shared_ranges(rgb.graph, ranges)
    joined = [f"Mixed_3b.{branch}.relu.out" for branch in ("b0", "b1b", "b2b", "b3b")]
    joined += ["Mixed_3b.concat.out", "Mixed_3c.pool.out"]
    assert len({shared[name] for name in joined}) == 1
    assert shared["Mixed_3b.b0.relu.out"].low == min(ranges[name].low for name in joined)
    assert shared["Mixed_3b.b1a.relu.out"] == ranges["Mixed_3b.b1a.relu.out"]
    # the features themselves are not rounded
    assert not any(name.startswith("Mixed_5c.concat") for name in plan.values)


def test_a_failed_gate_leaves_nothing_and_exits_with_3(files, tmp_path):
    out = tmp_path / "rgb.onnx"
    arguments = (files / "rgb.pt", out, "--stream", "rgb", "--precision", "fp16")
    line = failure(*arguments, "--gate", "cosine=1", code=3)
    assert "lowest cosine of features" in line
    assert list(tmp_path.iterdir()) == []
    result = invoke(*arguments, "--gate", "cosine=1", "--no-gate")
    assert result.exit_code == 0
    assert "warning: rgb.onnx would not pass the gate" in result.stderr
    assert read_backbone_contract(out).parity["gate"] is None


def test_another_network_does_not_pass(rgb, tmp_path):
    other = small_i3d(divisor=16, seed=1)
    wrong = Backbone(i3d_graph(other, (16, 224, 224), logits=True), rgb.contract, rgb.reference)
    with pytest.raises(GateError, match="too far from the reference"):
        export_backbone(wrong, tmp_path / "w.onnx")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("flow.pt", "o.onnx", "--stream", "rgb"), "weights of the flow stream"),
        (("none.pt", "o.onnx", "--stream", "rgb"), "cannot read the file"),
        (("rgb.pt", "o.pt", "--stream", "rgb"), "ends in .onnx"),
        (("rgb.pt", "rgb.int8.onnx", "--stream", "rgb"), "the name says int8"),
        (("rgb.pt", "none/o.onnx", "--stream", "rgb"), "cannot write here"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--crop", "112"), "I3D's is known"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--flow-algorithm", "tvl1"), "--stream flow"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--gate", "cosine"), "KEY=NUMBER"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--gate", "cosin=1"), "did you mean 'cosine'"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--calibration", "rgb.pt"), "not a video"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--calibration", "empty"), "no video file"),
        (("rgb.pt", "o.onnx", "--stream", "rgb", "--calibration", "no*.mp4"), "no file matches"),
        (
            ("rgb.pt", "o.onnx", "--stream", "rgb", "--calibration", "short.mp4"),
            "short.mp4: shorter",
        ),
    ],
)
def test_refusals(files, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "short.mp4", 15)
    for file in files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert reason in failure(*arguments)
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_clips_are_those_of_extraction(tmp_path, stream):
    for name, frames in (("a", 16 * 3), ("b", 16 * 2 + 5), ("short", 3)):
        write_video(tmp_path / f"{name}.mp4", frames)
    for each, channels in (("rgb", 3), ("flow", 2)):
        write_backbone(tmp_path / f"{each}.onnx", each, channels)
    contract = read_backbone_contract(tmp_path / f"{stream}.onnx")
    expected = []
    with Extractor.open(tmp_path / "rgb.onnx", tmp_path / "flow.onnx") as extractor:
        for name in ("a", "b"):
            with VideoReader(tmp_path / f"{name}.mp4") as video:
                for clip in extractor.clips(video):
                    levels = clip.rgb if stream == "rgb" else clip.flow()
                    expected.append(scaled(levels.transpose(3, 0, 1, 2), contract.scaling))
    assert len(expected) == 5
    clips = video_clips([tmp_path], contract, count=10)
    np.testing.assert_array_equal(list(clips), expected)
    some = video_clips([str(tmp_path / "[ab]*.mp4")], contract, count=3)
    np.testing.assert_array_equal(list(some), expected[::2])
    calibration, judges = clips.split()
    np.testing.assert_array_equal(list(judges), expected[3:4])
    np.testing.assert_array_equal(list(calibration), expected[:3] + expected[4:])
    with pytest.raises(InputError, match="a single clip; at least 2"):
        video_clips([tmp_path], contract, count=1).split()


def test_scaling_by_channel():
    levels = np.full((3, 1, 1, 1), 128, np.uint8)
    out = scaled(levels, Scaling((128.0, 127.0, 126.0), (1.0, 2.0, 4.0)))
    assert out.ravel().tolist() == [0.0, 0.5, 0.5]
    assert out.dtype == np.float32


def test_comparing_rows():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    same = compare(zip(rows, rows, strict=True))
    assert (same.cosine_min, same.max_abs, same.scale) == (1.0, 0.0, 4.0)
    other = compare([(rows[0], np.array([4.0, 3.0], np.float32)), (rows[1], rows[0])])
    assert (other.cosine_min, other.max_abs, other.clips) == (0.0, 4.0, 2)
    assert other.cosine_mean == pytest.approx(0.48)
    assert other.failures(FeatureGate(cosine=0.0, max_abs=1.0)) == ()
    nan = compare([(rows[0], np.array([np.nan, 1.0], np.float32))])
    assert len(nan.failures(FeatureGate(cosine=0.9, max_abs=1.0))) == 2


def test_int8_without_a_convolution_or_clips(rgb):
    empty = onnx.ModelProto()
    with pytest.raises(InputError, match="no convolution"):
        backbone_plan(empty)
    with pytest.raises(InputError, match="no videos"):
        quantize_backbone(rgb.graph, [])


def test_the_contract_of_a_backbone_is_not_touched_by_exporting(rgb, tmp_path):
    artefact = export_backbone(rgb, tmp_path / "rgb.onnx")
    assert dataclasses.replace(artefact.contract, parity={}) == rgb.contract
