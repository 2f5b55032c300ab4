"""co2net-bench parity: tensors, decisions, margins, mAP, bisection."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from co2net.checkpoint import Checkpoint
from co2net_benchmarks.cli.group import main
from co2net_benchmarks.inputs import planted_features
from co2net_benchmarks.parity.bisection import bisect
from co2net_benchmarks.parity.margins import measure_margins
from co2net_benchmarks.parity.results import ParityResults, first_diverging
from co2net_benchmarks.run_file import read_runs
from co2net_export.graph.write import set_contract
from co2net_export.parity.gate import default_gate
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.decoding.decisions import Outputs
from co2net_runtime.files.records import from_mapping
from co2net_runtime.options import DecodeOptions

TINY_CPU = Path(__file__).parents[2] / "runtime" / "data" / "tiny_cpu.onnx"


def parity(*arguments):
    arguments = ["parity", *arguments, "--lengths", "1,17,40", "--threads", 1, "--quiet"]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_bf16_is_judged_as_a_precision_of_its_own(tiny, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "parity.json"
    result = parity(tiny.checkpoint, tiny.artefact, "--bf16", "--backend", "openvino", "--out", out)
    assert result.exit_code in (0, 3), result.stderr  # so small a network rounds as it likes
    (run,) = read_runs(out)
    (one,) = from_mapping(ParityResults, run.results, "run").artefacts
    assert one.precision == "bf16"
    assert one.gate == default_gate("bf16", "none")
    assert 1e-4 < one.overall.max_ratio < 0.5
    result = parity(tiny.checkpoint, tiny.artefact, "--bf16", "--bisect")
    assert result.exit_code == 2
    assert "leave out --bf16" in result.stderr


@pytest.fixture(scope="module")
def altered(tiny):
    """Copy the artefact with one weight scaled, or its contract changed."""

    def make(name, *, layer="", factor=1.0, **contract_changes):
        model = onnx.load(tiny.artefact)
        for tensor in model.graph.initializer:
            if tensor.name == f"{layer}.weight":
                values = numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.from_metadata(metadata, name)
        set_contract(model, dataclasses.replace(contract, **contract_changes))
        path = tiny.folder / name
        onnx.save(model, path)
        return path

    return make


def test_equal_artefact_passes(tiny, tmp_path):
    out = tmp_path / "parity.json"
    result = parity(tiny.checkpoint, tiny.artefact, "--out", out)
    assert result.exit_code == 0, result.stderr
    (run,) = read_runs(out)
    results = from_mapping(ParityResults, run.results, "run")
    (one,) = results.artefacts
    assert [row.group for row in one.tensors] == [f"planted T = {n}" for n in (1, 17, 40)]
    assert one.overall.max_ratio < 1e-5
    assert one.same_checkpoint
    assert (one.decisions.lost, one.decisions.added, one.decisions.moved) == (0, 0, 0)
    assert one.decisions.segments > 10
    assert not one.decisions_judged  # planted videos are shown, not judged
    assert one.accuracy is None
    assert "passed" in result.stdout


@pytest.fixture(scope="module")
def bisected(tiny, altered):
    """An artefact with a scaled layer, one with an infinite layer, and the right one."""
    scaled = altered("scaled.onnx", layer="fAttn.attention.3", factor=1.01)
    infinite = altered("infinite.onnx", layer="classifier.1", factor=np.inf)
    out = tiny.folder / "bisected.json"
    result = parity(
        tiny.checkpoint, scaled, infinite, tiny.artefact, "--bisect", "--out", out
    )  # fmt: skip
    assert result.exit_code == 3
    results = from_mapping(ParityResults, read_runs(out)[0].results, "run")
    return *results.artefacts, result.stdout


def test_bisection_names_the_layer_that_was_altered(bisected):
    scaled, _, right, text = bisected
    assert "max difference" in scaled.failures[0]
    assert not right.failures
    assert first_diverging(scaled.bisection).tensor == "fAttn.attention.3.out"
    assert first_diverging(right.bisection) is None
    assert len(right.bisection) > 30
    assert "fAttn.attention.3.out (Conv) is the first tensor to diverge" in text


def test_infinite_outputs_fail_and_are_bisected(bisected):
    _, infinite, _, _ = bisected
    assert infinite.status == "failed"
    assert "cas is not finite" in infinite.reason
    first = first_diverging(infinite.bisection)
    assert first.tensor == "classifier.1.out"
    assert first.max_abs is None


def test_what_cannot_be_compared_is_reported_and_the_others_go_on(tiny, altered):
    renamed = altered("renamed.onnx", classes=("Run", "Jump", "Swim"))
    other = altered("other.onnx", checkpoint_sha256="f" * 64)
    broken = tiny.folder / "cut.onnx"
    broken.write_bytes(tiny.artefact.read_bytes()[:2000])
    result = parity(tiny.checkpoint, renamed, broken, other, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["results"]["artefacts"]
    assert [one["status"] for one in found] == ["failed", "failed", "measured"]
    assert "exported from another one" in found[0]["reason"]
    assert "damaged" in found[1]["reason"]
    assert not found[2]["same_checkpoint"]


def test_published_checkpoint_takes_its_classes_from_the_artefact(tiny, tmp_path):
    weights = dict(Checkpoint.load(tiny.checkpoint).weights)
    torch.save(weights, tmp_path / "published.pkl")
    result = parity(tmp_path / "published.pkl", tiny.artefact)
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six annotated videos of the tiny model's classes and widths."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    (folder / "features").mkdir()
    database = {}
    for number in range(6):
        length = 20 + 60 * (number % 3)
        features = np.abs(rng.standard_normal((length, 16))).astype(np.float32)
        np.save(folder / "features" / f"v{number}.npy", features)
        label = ("Run", "Jump", "Throw")[number % 3]
        database[f"v{number}"] = {
            "subset": "test" if number else "train",
            "duration": length * 0.64,
            "annotations": [{"segment": [1.0, 6.0], "label": label}],
        }
    document = {"database": database, "classes": ["Run", "Jump", "Throw"]}
    document["streams"] = {"rgb_dim": 6, "flow_dim": 10}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_dataset_gives_decisions_to_judge_and_map(tiny, altered, dataset):
    path = altered("fourfold.onnx", layer="fAttn.attention.3", factor=4)
    result = parity(tiny.checkpoint, tiny.artefact, path, "--features", dataset, "--json")
    assert result.exit_code == 3
    results = json.loads(result.stdout)["results"]
    same, other = (from_mapping(ParityResults, results, "run").artefacts[index] for index in (0, 1))
    assert results["judged_on"] == f"5 videos of {dataset.name}"
    assert same.decisions_judged
    assert same.decisions.videos == 5
    assert same.accuracy.reference == same.accuracy.artefact
    assert [row.group for row in same.tensors[3:]] == ["T <= 100", "T <= 300"]
    assert other.decisions.changed > 0.01
    assert other.margins.crossed > 0


def test_a_folder_of_features_is_judged_without_map(tiny, dataset):
    result = parity(tiny.checkpoint, tiny.artefact, "--features", dataset / "features", "--json")
    assert result.exit_code == 0, result.stderr
    (one,) = json.loads(result.stdout)["results"]["artefacts"]
    assert one["decisions"]["videos"] == 6
    assert one["accuracy"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{onnx}", "{onnx}"], "not a checkpoint"),
        (["nowhere.ckpt", "{onnx}"], "nowhere.ckpt: no such file"),
        (["{ckpt}", "{onnx}", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["{ckpt}", "{onnx}", "--features", "nowhere"], "nowhere: no such file"),
        (["{ckpt}", "{onnx}", "--out", "{onnx}/run.json"], "cannot write here"),
    ],
)
def test_usage_errors_are_one_line(tiny, arguments, words):
    paths = {"onnx": tiny.artefact, "ckpt": tiny.checkpoint}
    result = parity(*(text.format(**paths) for text in arguments))
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_both_branches_of_an_optimized_file_are_bisected(tiny):
    """Its fast branch names and orders its tensors otherwise; a wrong weight there is found."""
    plain, fast = onnx.load(tiny.artefact), onnx.load(TINY_CPU)
    feeds = {"features": planted_features(10, 16)[None], "lengths": np.array([10])}
    steps = bisect(plain, fast, feeds, 1e-4)
    assert first_diverging(steps) is None
    named = [step.tensor for step in steps]
    assert {"fusion.0.out", "winograd/fusion.0.out", "winograd/LeakyRelu_3.out"} <= set(named)
    assert named.count("cas") == 2
    assert all(step.max_abs is not None for step in steps)
    (weight,) = [
        tensor
        for tensor in fast.graph.initializer
        if tensor.name == "winograd/fAttn.attention.3.weight.0"
    ]
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    assert first_diverging(bisect(plain, fast, feeds, 1e-4)).tensor == "winograd/LeakyRelu_7.out"


def test_bisection_needs_common_names(tiny):
    graph = onnx.load(tiny.artefact)
    other = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Neg", ["features"], ["mine"])],
            "other",
            [onnx.helper.make_tensor_value_info("features", 1, ["batch", "time", 16])],
            [onnx.helper.make_tensor_value_info("mine", 1, ["batch", "time", 16])],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    with pytest.raises(Exception, match="no tensor name in common"):
        bisect(graph, other, {"features": np.zeros((1, 3, 16), np.float32)}, 1e-5)


@given(st.integers(0, 10**6), st.floats(0, 0.3))
def test_margins_count_what_crosses(seed, noise):
    """Against plain loops over every snippet, threshold and class."""
    rng = np.random.default_rng(seed)
    options = DecodeOptions(threshold_count=4)
    cas = rng.standard_normal((12, 4)).astype(np.float32)
    attention = rng.uniform(0, 1, 12).astype(np.float32)
    shifted = np.clip(attention + rng.uniform(-noise, noise, 12), 0, 1).astype(np.float32)
    found = measure_margins([Outputs(cas, attention)], [Outputs(cas, shifted)], options)
    pairs = [(a, b, t) for a, b in zip(attention, shifted, strict=True) for t in options.thresholds]
    largest = max(abs(a - b) for a, b, _ in pairs)
    assert found.decisions == len(pairs) == 48
    assert found.crossed == sum((a > t) != (b > t) for a, b, t in pairs)
    near = sum(abs(np.float64(a) - t) < largest for a, _, t in pairs)
    assert found.at_risk == pytest.approx(near / 48)
    # what crossed was at risk: the difference it took is at most the largest
    assert found.crossed <= near + 1e-9
    assert list(found.within) == sorted(found.within)


def test_without_torch_one_line_says_what_to_install(tiny, monkeypatch):
    for module in ("co2net_benchmarks.parity.run", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    result = parity(tiny.checkpoint, tiny.artefact)
    assert result.exit_code == 2
    assert "pip install 'co2net[export]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
