import dataclasses
import json

import numpy as np
import onnx
import pytest

from co2net.data.dataset import DatasetOptions, open_dataset
from co2net_export import export
from co2net_export.export import Exporter
from co2net_export.graph import write as artefact
from co2net_export.graph.session import open_graph, open_session
from co2net_export.names import check_name
from co2net_export.parity.gate import Gate
from co2net_export.parity.parity import run_video
from co2net_export.parity.tensors import Case, run_case
from co2net_export.parity.videos import calibration_split
from co2net_export.precision.int8 import layer_names
from co2net_export.precision.options import PRECISIONS, PrecisionOptions, lower
from co2net_export.sensitivity import relaxed, sweep, table
from co2net_runtime.artefact.contract import Contract, ReceptiveField
from co2net_runtime.backends import ov
from co2net_runtime.errors import ContractError, GateError, InputError, MissingDependencyError
from co2net_runtime.files.records import to_mapping

LOOSE = Gate(segments=1.0)


def has_bf16():
    try:
        core = ov._core()
    except MissingDependencyError:
        return False
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(scope="module")
def exporter(tiny, data):
    """One exporter for all tests of this file: PyTorch and its exporter run once."""
    dataset = open_dataset(data)
    return Exporter(
        dataclasses.replace(tiny.tiny_checkpoint(), extraction={"backbone": "a test"}),
        checkpoint_sha256="ab" * 32,
        dataset=dataset,
        split=calibration_split(dataset),
        quiet=True,
    )


def contract_of(path):
    model = onnx.load(path, load_external_data=False)
    return Contract.from_metadata({p.key: p.value for p in model.metadata_props}, str(path))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_both_graphs_in_every_precision(exporter, tmp_path, precision):
    options = PrecisionOptions(precision=precision)
    written = exporter.write(tmp_path / "model.onnx", options, gate=LOOSE, chunks=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "model.chunk.onnx",
        "model.md",
        "model.onnx",
    ]
    whole, chunk = (contract_of(entry.path) for entry in written)
    assert [entry.contract for entry in written] == [whole, chunk]
    assert whole.precision == chunk.precision == precision
    assert whole.checkpoint_sha256 == chunk.checkpoint_sha256 == "ab" * 32
    assert (whole.graph, whole.inputs) == ("whole", ("features", "lengths"))
    assert (chunk.graph, chunk.inputs) == ("chunk", ("features", "lengths", "context"))
    both = ("batch", "time")
    axes = {"features": both, "lengths": ("batch",), "cas": both, "attention": both}
    assert whole.dynamic_axes == axes
    assert chunk.dynamic_axes == {**axes, "context": ("batch",)}
    assert whole.receptive_field == ReceptiveField(cas=2, attention=3)
    assert whole.classes == exporter.checkpoint.classes
    for contract in (whole, chunk):
        assert contract.extraction == {"backbone": "a test"}
        assert contract.parity["decisions"]["videos"] == 6
        assert contract.parity["gate"]["segments"] == 1.0
        assert {"cas", "attention", "scale"} == set(contract.parity["tensors"])
        assert 0 <= contract.parity["accuracy"]["artefact"] <= 100
        assert {"co2net", "onnx", "torch"} <= set(contract.versions)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_chunks_say_what_the_whole_video_says(exporter, tmp_path, precision):
    """Both graphs of one precision, so that only the chunking is compared."""
    options = PrecisionOptions(precision=precision)
    written = exporter.write(tmp_path / "model.onnx", options, gate=LOOSE, chunks=True)
    whole, chunk = (open_session(entry.path) for entry in written)
    features = np.random.default_rng(0).random((2, 150, 16), np.float32)
    features[1, 95:] = np.nan
    case = Case(features, np.array([150, 95]))
    for expected, found in zip(
        run_case(whole, case, kind="whole", halo=0),
        run_case(chunk, case, kind="chunk", halo=3),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    if precision == "fp32":
        # one snippet of halo less is not enough: the receptive field is no larger than stated
        short = run_case(chunk, case, kind="chunk", halo=2)
        assert np.abs(short[1] - expected).max() > 1e-4


def test_the_same_export_gives_the_same_bytes(exporter, tmp_path):
    options = PrecisionOptions(precision="int8-cpu")
    for name in ("a", "b"):
        exporter.write(tmp_path / f"{name}.onnx", options, gate=LOOSE)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a.onnx").read_bytes()


def test_a_gate_that_is_not_met_leaves_nothing(exporter, tmp_path):
    options = PrecisionOptions(precision="int8-cpu")
    with pytest.raises(GateError, match=r"too far .*share of segments changed .* > 0"):
        exporter.write(
            tmp_path / "model.onnx", options, gate=Gate(segments=0.0), strict=True, chunks=True
        )
    with pytest.raises(GateError, match="max difference"):
        exporter.write(tmp_path / "model.onnx", options, gate=Gate(max_abs=1e-9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not has_bf16(), reason="this machine does not compute in bfloat16")
@pytest.mark.parametrize("precision", ["fp32", "int8-cpu"])
def test_bf16_is_judged_like_a_precision(exporter, tmp_path, precision):
    options = PrecisionOptions(precision)
    loose = Gate(mean_abs=0.1, segments=1.0)
    written = exporter.write(
        tmp_path / "model.onnx", options, gate=LOOSE, bf16=loose, chunks=True,
        live=precision == "fp32",
    )  # fmt: skip
    for one in written:
        plain, rounded = one.report.tensors, one.bf16.tensors
        assert rounded.cas.mean_abs > (1e-4 if precision == "fp32" else 0)
        assert rounded.cas.mean_abs != plain.cas.mean_abs
        parity = contract_of(tmp_path / one.path.name).parity
        assert parity["bf16"]["tensors"]["cas"]["mean_abs"] == rounded.cas.mean_abs
        assert parity["bf16"]["gate"]["mean_abs"] == 0.1
        assert parity["gate"]["mean_abs"] is None
    assert "- With --bf16: Largest" in (tmp_path / "model.md").read_text()


@pytest.mark.skipif(not has_bf16(), reason="this machine does not compute in bfloat16")
def test_bf16_that_is_too_far_leaves_nothing(exporter, tmp_path):
    tight = Gate(mean_abs=1e-6)
    with pytest.raises(GateError, match=r"in bfloat16.*mean difference.*Without --bf16"):
        exporter.write(tmp_path / "a.onnx", PrecisionOptions("int8-cpu"), gate=LOOSE, bf16=tight)
    assert list(tmp_path.iterdir()) == []
    (artefact,) = exporter.write(tmp_path / "a.onnx", bf16=tight, enforce=False)
    assert "with --bf16, mean difference" in artefact.failures[0]


@pytest.mark.parametrize(("precision", "optimize"), [("int8-trt", "none"), ("fp32", "cpu")])
def test_bf16_is_for_files_that_run_in_it(exporter, tmp_path, precision, optimize):
    with pytest.raises(InputError, match="--bf16 judges files that run in bfloat16"):
        exporter.write(
            tmp_path / "a.onnx", PrecisionOptions(precision), bf16=LOOSE, optimize=optimize
        )


def test_a_wrong_graph_does_not_get_its_name(exporter, tmp_path, monkeypatch):
    """The fp32 gate finds a weight that is off by one part in a thousand."""

    def damage(graph, *_args):
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        for tensor in copy.graph.initializer:
            if tensor.name == "classifier.1.weight":
                values = onnx.numpy_helper.to_array(tensor).copy()
                values[0, 0, 0] *= 1.001
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return copy

    monkeypatch.setattr(export, "lower", damage)
    with pytest.raises(GateError, match="too far from the PyTorch model"):
        exporter.write(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_enforcement_the_contract_says_so(exporter, tmp_path):
    options = PrecisionOptions(precision="int8-cpu")
    (written,) = exporter.write(
        tmp_path / "model.onnx", options, gate=Gate(segments=0.0), enforce=False
    )
    assert written.failures
    assert contract_of(written.path).parity["gate"] is None


def test_an_old_artefact_survives_a_failed_export(exporter, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    options = PrecisionOptions(precision="int8-cpu")
    with pytest.raises(GateError):
        exporter.write(path, options, gate=Gate(max_abs=0.0), strict=True, overwrite=True)
    assert path.read_bytes() == b"old"


def test_weights_in_a_second_file(exporter, tmp_path, monkeypatch):
    monkeypatch.setattr(artefact, "EXTERNAL_BYTES", 100)
    (written,) = exporter.write(tmp_path / "model.onnx", external_data=True)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["model.md", "model.onnx", "model.onnx.data"]
    (whole,) = exporter.write(tmp_path / "one.onnx")
    features = np.random.default_rng(0).random((1, 9, 16), np.float32)
    feeds = {"features": features, "lengths": np.array([9])}
    for found, expected in zip(
        open_session(written.path).run(None, feeds),
        open_session(whole.path).run(None, feeds),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_too_large_for_one_file_asks_for_two(exporter, tmp_path, monkeypatch):
    monkeypatch.setattr(artefact, "MAX_FILE_BYTES", 1000)
    with pytest.raises(InputError, match="add --external-data"):
        exporter.write(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(exporter, tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="limits on file sizes exist on Unix alone")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(InputError, match=r"model.onnx \(0 MB\) cannot be written: File too"):
            exporter.write(tmp_path / "model.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(exporter, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write here: (Not a directory|File exists)"):
        exporter.write(tmp_path / "file" / "model.onnx")


@pytest.mark.parametrize(
    ("name", "precision", "fits"),
    [
        ("model.onnx", "fp16", True),
        ("model.fp16.onnx", "fp16", True),
        ("model.int8.onnx", "int8-cpu", True),
        ("model.int8-cpu.onnx", "int8-cpu", True),
        ("model_fp32_v2.onnx", "fp16", False),
        ("model.int8-trt.onnx", "int8-cpu", False),
        ("model.int8.onnx", "fp32", False),
        ("model.chunk.onnx", "fp32", False),
        ("model.pt", "fp32", False),
    ],
)
def test_a_name_must_not_deny_the_precision(tmp_path, name, precision, fits):
    if fits:
        check_name(tmp_path / name, precision)
    else:
        with pytest.raises(InputError, match="name"):
            check_name(tmp_path / name, precision)


def test_int8_needs_data(tiny, tmp_path):
    exporter = Exporter(tiny.tiny_checkpoint(), checkpoint_sha256="")
    with pytest.raises(InputError, match="--data DATA"):
        exporter.write(tmp_path / "model.onnx", PrecisionOptions(precision="int8-trt"))


def test_an_unknown_float_layer_names_the_nearest(exporter, tmp_path):
    options = PrecisionOptions(precision="int8-cpu", float_layers=("classifier.3",))
    with pytest.raises(InputError, match="did you mean 'classifier"):
        exporter.write(tmp_path / "model.onnx", options)


def test_a_precision_must_be_somewhere_in_the_graph(exporter, tmp_path):
    options = PrecisionOptions(precision="fp16", float_layers=layer_names(exporter.graph()))
    with pytest.raises(InputError, match="every layer is kept in float: that is fp32, not fp16"):
        exporter.write(tmp_path / "model.onnx", options)
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_width_or_of_other_classes_are_refused(tiny, data, tmp_path):
    checkpoint = tiny.tiny_checkpoint()
    renamed = dataclasses.replace(checkpoint, classes=("Run", "Jump", "Fly"))
    with pytest.raises(InputError, match="classes that the model does not know \\('Throw'"):
        Exporter(renamed, checkpoint_sha256="", dataset=open_dataset(data))
    wide = tmp_path / "wide"
    tiny.write_dataset(wide)
    for file in (wide / "features").iterdir():
        np.save(file, np.ones((30, 20), np.float32))
    document = json.loads((wide / "annotations.json").read_text())
    document["streams"] = {"rgb_dim": 10, "flow_dim": 10}
    (wide / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"10 \+ 10 channels, the model takes 6 \+ 10"):
        Exporter(checkpoint, checkpoint_sha256="", dataset=open_dataset(wide))


def test_calibration_and_judging_videos_are_disjoint(tiny, data, tmp_path):
    found = calibration_split(open_dataset(data), calibration_count=5, held_out_count=4)
    assert len(found.calibration) == 5
    assert {video.subset for video in found.calibration} == {"training"}
    assert {video.subset for video in found.held_out} == {"validation"}
    assert len(found.held_out) == 4
    alone = tmp_path / "training-only"
    tiny.write_dataset(alone, test=0)
    found = calibration_split(open_dataset(alone, DatasetOptions(train_subset="training")))
    names = [{video.name for video in part} for part in (found.calibration, found.held_out)]
    assert not names[0] & names[1]
    assert [len(part) for part in names] == [6, 6]


def _sweep(exporter, precision):
    options = PrecisionOptions(precision=precision)
    histograms = exporter.histograms(options)
    return sweep(exporter.graph(), options, histograms, exporter.held_out, quiet=True)


def test_sensitivity_lowers_each_layer_alone(exporter):
    rows = _sweep(exporter, "int8-cpu")
    assert len(rows) == 14
    by_name = {row.layers: row for row in rows}
    assert by_name[("classifier.1",)].parameters == 12 * 12 * 3
    # the classifier has no say in the attention, nor the attention heads in cas
    assert by_name[("classifier.1",)].attention_mean_abs < 1e-6
    assert by_name[("classifier.1",)].cas_mean_abs > 1e-4
    assert by_name[("vAttn.attention.3",)].cas_mean_abs < 1e-6
    assert by_name[("vAttn.attention.3",)].attention_mean_abs > 1e-4
    lines = list(table(rows))
    assert len(lines) == 1 + 14 + 1
    assert lines[-2].startswith("10 layers together")
    half = _sweep(exporter, "fp16")
    assert half[-1].cas_mean_abs < rows[-1].cas_mean_abs / 5


def test_gates_refuse_nonsense():
    with pytest.raises(ValueError, match="must not be negative"):
        Gate(max_abs=-1)


def test_parity_record_is_plain_json(exporter, tmp_path):
    (written,) = exporter.write(tmp_path / "model.onnx")
    parity = json.loads(json.dumps(to_mapping(written.contract)))["parity"]
    assert parity["decisions"]["lost"] == 0
    with pytest.raises(ContractError):
        Contract.from_metadata({}, "model.onnx")


def test_int8_keeps_costly_layers_until_the_gate_holds(exporter, tmp_path):
    options = PrecisionOptions(precision="int8-cpu")
    (strict,) = exporter.write(tmp_path / "strict.onnx", options, gate=LOOSE)
    assert strict.kept == ()
    assert "kept_in_float" not in strict.contract.parity
    changed = strict.report.decisions.changed
    assert changed > 0
    gate = Gate(segments=changed * 0.9)
    (kept,) = exporter.write(tmp_path / "kept.onnx", options, gate=gate, chunks=False)
    assert kept.report.decisions.changed <= gate.segments
    assert set(kept.kept) <= set(layer_names(exporter.graph()))
    assert contract_of(kept.path).parity["kept_in_float"] == list(kept.kept)
    assert kept.contract.parity["gate"]["segments"] == gate.segments
    with pytest.raises(GateError, match="share of segments changed"):
        exporter.write(tmp_path / "other.onnx", options, gate=gate, strict=True)


@pytest.mark.parametrize("precision", ["int8-cpu", "int8-trt"])
def test_each_relaxation_keeps_one_layer_more_and_ends(exporter, precision):
    options = PrecisionOptions(precision=precision)
    videos = [np.random.default_rng(0).random((20, 16), np.float32)]
    steps = list(relaxed(exporter.graph(), options, exporter.histograms(options), videos))
    # inputs first, then whole layers, until one layer is left
    coarse = [name for name in layer_names(exporter.graph()) if name not in options.float_layers]
    inputs = len(coarse) - len(options.fine_layers)
    assert [len(one.fine_layers) - len(options.fine_layers) for one in steps[:inputs]] == [
        *range(1, inputs + 1)
    ]
    assert [len(one.float_layers) - len(options.float_layers) for one in steps[inputs:]] == [
        *range(1, len(coarse))
    ]
    # the first to go is the one whose 8-bit input costs most
    graph, histograms = exporter.graph(), exporter.histograms(options)
    fp32 = run_video(open_graph(graph), videos[0])

    def error(candidate):
        found = run_video(open_graph(lower(graph, candidate, histograms)), videos[0])
        return [
            np.abs(found.cas - fp32.cas).mean(),
            np.abs(found.attention - fp32.attention).mean(),
        ]

    whole = error(options)
    left = {
        name: sum(np.divide(error(options.keeping(name)), whole))
        for name in coarse
        if name not in options.fine_layers
    }
    assert steps[0].fine_layers[-1] == min(left, key=left.get)


def test_existing_files_are_replaced_only_when_asked(exporter, tmp_path):
    exporter.write(tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    with pytest.raises(InputError, match=r"model.onnx: exists already: .* --overwrite"):
        exporter.write(tmp_path / "model.onnx")
    exporter.write(tmp_path / "model.onnx", overwrite=True)
    assert (tmp_path / "model.onnx").read_bytes() == before
    (tmp_path / "new.chunk.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"new.chunk.onnx: exists already"):
        exporter.write(tmp_path / "new.onnx", chunks=True)


def test_leftovers_of_a_killed_export_are_swept(exporter, tmp_path):
    leftover = tmp_path / ".model.onnx.ab12cd_9"
    leftover.mkdir()
    (leftover / "model.onnx").write_bytes(b"half")
    exporter.write(tmp_path / "model.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.md", "model.onnx"]


def test_two_exports_to_one_name_do_not_mix(tmp_path):
    with (
        artefact.staging(tmp_path / "model.onnx"),
        pytest.raises(InputError, match="in use by"),
        artefact.staging(tmp_path / "model.onnx"),
    ):
        raise AssertionError
