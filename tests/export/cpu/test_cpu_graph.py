"""The graph optimized for the CPU says what the plain graph says."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_export.cli import main
from co2net_export.cpu.cpu_graph import optimize_for_cpu
from co2net_export.graph.convert import convert
from co2net_runtime.artefact.contract import MIN_ROWS, MIN_ROWS_NAME, OUTPUT_NAMES
from co2net_runtime.artefact.onnx_file import read_contract

# odd widths, so that nothing works by being a multiple of something
ODD = ModelConfig(classes=5, rgb_dim=7, flow_dim=11, attention_dim=3, embed_dim=13)


def open_graph(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def graphs(config, kind, *, biased=True):
    """The plain graph, and the optimized one in its fast form at any length."""
    torch.manual_seed(3)
    model = CO2Net(config).eval()
    if biased:  # initial biases are 0, and the exporter then drops them
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)
    plain = convert(model, kind=kind)
    return plain, optimize_for_cpu(plain, config, min_rows=0)


@pytest.fixture(
    scope="module",
    params=[("whole", 1, True), ("whole", 5, False), ("chunk", 1, False), ("chunk", 5, True)],
    ids=lambda parameters: f"{parameters[0]}-pool{parameters[1]}",
)
def pair(request):
    """Sessions of the plain and the fast form, and the graph's kind."""
    kind, kernel, biased = request.param
    config = dataclasses.replace(ODD, pool_kernel=kernel)
    return [open_graph(graph) for graph in graphs(config, kind, biased=biased)], kind


def feeds(lengths, kind, *, seed=0, longest=None, dim=ODD.feature_dim):
    """A ragged batch whose padding is NaN."""
    rng = np.random.default_rng(seed)
    batch = np.full((len(lengths), longest or max(lengths), dim), np.nan, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = np.abs(rng.standard_normal((length, dim)))
    given = {"features": batch, "lengths": np.array(lengths, np.int64)}
    if kind == "chunk":
        given["context"] = rng.random((len(lengths), dim), np.float32)
    return given


def assert_same(pair, given):
    (plain, fast), _ = pair
    expected = plain.run(OUTPUT_NAMES, given)
    scale = max(1.0, np.abs(expected[0]).max())
    for name, found, wanted in zip(
        OUTPUT_NAMES, fast.run(OUTPUT_NAMES, given), expected, strict=True
    ):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * scale, err_msg=name)
        beyond = np.arange(found.shape[1]) >= given["lengths"][:, None]
        assert not found[beyond].any()


@pytest.mark.parametrize("length", range(1, 41))
def test_every_length(pair, length):
    assert_same(pair, feeds([length], pair[1]))


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 23), min_size=1, max_size=6).filter(any),
    padding=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_ragged_batches(pair, lengths, padding, seed):
    given = feeds(lengths, pair[1], seed=seed, longest=max(lengths) + padding)
    assert_same(pair, given)


def test_neighbours_in_a_batch_do_not_matter(pair):
    """A video's outputs hang on no other video, down to the last bit where tiles fall alike."""
    (_, fast), kind = pair
    # 7 snippets and the gap are two whole tiles
    given = feeds([7, 12], kind)
    loud = {name: value.copy() for name, value in given.items()}
    loud["features"][0] *= 100
    for found, other in zip(
        fast.run(OUTPUT_NAMES, given), fast.run(OUTPUT_NAMES, loud), strict=True
    ):
        np.testing.assert_array_equal(found[1], other[1])
        assert not np.array_equal(found[0], other[0])


def test_number_of_snippets_chooses_the_form(tiny, tiny_graph):
    config = tiny.tiny_checkpoint().model
    graph = optimize_for_cpu(tiny_graph, config)
    plain, optimized = open_graph(tiny_graph), open_graph(graph)
    short, long = (
        feeds([length], "whole", dim=config.feature_dim) for length in (MIN_ROWS - 2, MIN_ROWS - 1)
    )
    assert_equal = np.testing.assert_array_equal
    for found, wanted in zip(optimized.run(None, short), plain.run(None, short), strict=True):
        assert_equal(found, wanted)
    # the fast form rounds differently
    assert any(
        not np.array_equal(found, wanted)
        for found, wanted in zip(optimized.run(None, long), plain.run(None, long), strict=True)
    )
    # a session may move the border
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    never = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(2**62))
    options.add_initializer(MIN_ROWS_NAME, never)
    moved = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    for found, wanted in zip(moved.run(None, long), plain.run(None, long), strict=True):
        assert_equal(found, wanted)


def test_standard_operators_and_plain_weights_once(tiny, tiny_graph):
    plain, fast = tiny_graph, optimize_for_cpu(tiny_graph, tiny.tiny_checkpoint().model)
    onnx.checker.check_model(fast, full_check=True)
    assert [(entry.domain, entry.version) for entry in fast.opset_import] == [("", 20)]
    names = [tensor.name for tensor in fast.graph.initializer]
    assert len(names) == len(set(names))
    assert {tensor.name for tensor in plain.graph.initializer} <= set(names)
    for attribute in fast.graph.node[-1].attribute:
        assert not attribute.g.initializer


def test_cli_writes_a_proven_artefact(checkpoint_path, tmp_path):
    result = CliRunner().invoke(main, [str(checkpoint_path), str(tmp_path), "--optimize", "cpu"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "tiny.fp32-cpu.onnx"
    contract = read_contract(path)
    assert (contract.precision, contract.optimize) == ("fp32", "cpu")
    assert contract.parity["gate"]["max_abs"] == 1e-4
    assert "times its speed" in result.stderr


def test_cli_refuses_other_precisions(checkpoint_path, tmp_path):
    arguments = [str(checkpoint_path), str(tmp_path), "--optimize", "cpu", "--precision", "fp16"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "form of the fp32 graph" in result.stderr
    assert not list(tmp_path.iterdir())
