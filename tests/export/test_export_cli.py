import subprocess
import sys

import onnx
import pytest
import torch
from click.testing import CliRunner

from co2net.checkpoint import Checkpoint
from co2net_export.cli import main
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.options import SnippetTiming


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails(*arguments, code=2):
    """Run and return the one line on stderr."""
    result = run(*arguments, "--quiet")
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def contract_of(path):
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    return Contract.from_metadata(metadata, str(path))


def test_exports_and_prints_the_paths(checkpoint_path, data, tmp_path):
    result = run(
        checkpoint_path, tmp_path / "out", "--data", data, "--chunks", "--opset", "18",
        "--held-out-videos", "3", "--precision", "fp16", "--gate", "segments=none",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    written = [tmp_path / "out" / f"tiny.fp16{kind}.onnx" for kind in ("", ".chunk")]
    assert result.stdout.split() == [str(path) for path in written]
    contract = contract_of(written[0])
    assert contract.opset == 18
    assert contract.parity["decisions"]["videos"] == 3
    assert contract.parity["gate"]["segments"] is None
    for part in ("segments in 3 held-out videos", "mAP", "of fp32's size"):
        assert part in result.stderr


def test_published_state_dicts_with_their_classes_and_timing(tiny, tmp_path):
    checkpoint = tiny.tiny_checkpoint()
    state = {**checkpoint.weights, "feat_encoder.0.weight": torch.zeros(16, 16, 3)}
    torch.save(state, tmp_path / "published.pkl")
    (tmp_path / "classes.txt").write_text("Run\nJump\nThrow\n")
    result = run(
        tmp_path / "published.pkl", tmp_path / "model.onnx", "--published", "--classes",
        tmp_path / "classes.txt", "--pool-kernel", "5", "--stride", "8", "--fps", "30",
        "--offset-frames", "4", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    contract = contract_of(tmp_path / "model.onnx")
    assert contract.classes == ("Run", "Jump", "Throw")
    assert (contract.pool_kernel, contract.receptive_field.attention) == (5, 5)
    assert contract.timing == SnippetTiming(snippet_frames=8, fps=30, offset_frames=4)
    (tmp_path / "classes.txt").write_text("Run\nJump\n")
    assert "the classifier has 3 classes, the class list 2" in fails(
        tmp_path / "published.pkl", tmp_path / "other.onnx", "--published", "--classes",
        tmp_path / "classes.txt",
    )  # fmt: skip
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize(
    "option", [("--classes", "c.txt"), ("--rgb-dim", "4"), ("--key", "a"), ("--test-subset", "x")]
)
def test_options_about_data_without_data_are_not_passed_over(checkpoint_path, tmp_path, option):
    line = fails(checkpoint_path, tmp_path / "model.onnx", *option)
    assert f"{option[0]} is about DATA: it goes with --data" in line


def test_int8_on_held_out_decisions(checkpoint_path, data, tmp_path):
    arguments = (checkpoint_path, tmp_path / "model.onnx", "--precision", "int8-cpu")
    assert "--data DATA" in fails(*arguments)
    line = fails(*arguments, "--data", data, "--gate", "segments=0", "--strict", code=3)
    assert "share of segments changed" in line
    assert list(tmp_path.iterdir()) == []
    result = run(*arguments, "--data", data, "--gate", "segments=0", "--no-gate")
    assert result.exit_code == 0, result.stderr
    assert "would not pass the gate: share of segments changed" in result.stderr
    assert contract_of(tmp_path / "model.onnx").parity["gate"] is None


def test_sensitivity_prints_a_table_and_writes_nothing(checkpoint_path, data, tmp_path):
    result = run(
        checkpoint_path, tmp_path / "model.onnx", "--precision", "int8-trt", "--data", data,
        "--sensitivity", "--held-out-videos", "2", "--calibration-videos", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "vAttn.attention.3" in result.stdout
    assert "2 held-out videos" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_timing_that_differs_from_the_data_is_noted(tiny, data, tmp_path):
    import dataclasses

    checkpoint = tiny.tiny_checkpoint()
    timing = dataclasses.replace(checkpoint.timing, snippet_frames=4)
    dataclasses.replace(checkpoint, timing=timing).save(tmp_path / "other.ckpt")
    result = run(tmp_path / "other.ckpt", tmp_path / "model.onnx", "--data", data)
    assert result.exit_code == 0, result.stderr
    assert "a snippet every 16 frames at 25 fps, the model was trained on 4" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--opset", "17"), "opset 17: the exporter writes 18 to 21"),
        (("--gate", "max_abs"), "expected KEY=NUMBER"),
        (("--gate", "max=1"), "did you mean 'max_abs'?"),
        (("--gate", "max_abs=-1"), "must not be negative"),
        (("--precision", "int4"), "int4"),
        (("--published",), "--published needs --classes"),
        (("--pool-kernel", "5"), "goes with --published"),
        (("--data", "no/such/data"), "no such file or folder"),
        (("--sensitivity",), "name --data DATA"),
        (("--float-layer", "nope", "--precision", "fp16"), "no layer is called 'nope'"),
    ],
)
def test_bad_options_get_one_line(checkpoint_path, tmp_path, arguments, words):
    assert words in fails(checkpoint_path, tmp_path / "model.onnx", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_bad_checkpoints_get_one_line(tmp_path):
    assert "no such file" in fails(tmp_path / "missing.ckpt", tmp_path / "model.onnx")
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    assert "not a checkpoint" in fails(tmp_path / "bad.ckpt", tmp_path / "model.onnx")


def test_a_run_folder_stands_for_its_best_checkpoint(checkpoint_path, tmp_path):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    assert "a folder without best.ckpt: expected a checkpoint file" in fails(
        run_folder, tmp_path / "model.onnx"
    )
    (run_folder / "last.ckpt").write_bytes(b"")
    assert "it has last.ckpt: name that file" in fails(run_folder, tmp_path / "model.onnx")
    (run_folder / "best.ckpt").write_bytes(checkpoint_path.read_bytes())
    result = run(run_folder, tmp_path / "model.onnx")
    assert result.exit_code == 0, result.stderr
    assert f"exporting {run_folder / 'best.ckpt'}" in result.stderr
    assert contract_of(tmp_path / "model.onnx").classes == ("Run", "Jump", "Throw")


def test_an_existing_file_is_kept_unless_overwritten(checkpoint_path, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    assert "exists already" in fails(checkpoint_path, path)
    assert path.read_bytes() == b"old"
    result = run(checkpoint_path, path, "--overwrite", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert contract_of(path).precision == "fp32"


def test_layers_kept_for_the_gate_are_named_with_their_cost(checkpoint_path, data, tmp_path):
    arguments = ("--precision", "int8-cpu", "--data", data, "--gate", "map_points=none")
    result = run(checkpoint_path, tmp_path / "any.onnx", *arguments, "--no-gate", "--quiet")
    assert result.exit_code == 0, result.stderr
    decisions = contract_of(tmp_path / "any.onnx").parity["decisions"]
    changed = (decisions["lost"] + decisions["added"] + decisions["moved"]) / decisions["segments"]
    gate = f"segments={0.9 * changed}"
    result = run(checkpoint_path, tmp_path / "model.onnx", *arguments, "--gate", gate)
    assert result.exit_code == 0, result.stderr
    kept = contract_of(tmp_path / "model.onnx").parity["kept_in_float"]
    assert f"kept in float to meet the gate: {', '.join(kept)}; without that" in result.stderr


def test_exit_codes_are_documented():
    assert "3 the gate is not met" in run("--help").stdout


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_checkpoints_get_one_line(checkpoint_path, tmp_path, damage):
    content = bytearray(checkpoint_path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        for position in range(40, 400, 7):
            content[position] ^= 0xFF
    else:
        content = bytearray()
    (tmp_path / "bad.ckpt").write_bytes(content)
    fails(tmp_path / "bad.ckpt", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_help_needs_no_torch():
    program = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['co2net-export', '--help']\n"
        "from co2net_export.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--precision" in result.stdout


def test_choices_and_defaults_are_those_of_the_library(checkpoint_path):
    """The command line repeats them, since importing the library takes seconds."""
    from co2net_export.graph.convert import DEFAULT_OPSET
    from co2net_export.parity.videos import CALIBRATION_VIDEOS
    from co2net_export.precision.calibration import METHODS
    from co2net_export.precision.options import FP32, PRECISIONS

    options = {option.name: option for option in main.params}
    assert tuple(options["precision"].type.choices) == PRECISIONS
    assert tuple(options["calibration_method"].type.choices) == tuple(METHODS)
    assert options["calibration_method"].default == FP32.method
    assert options["calibration_videos"].default == CALIBRATION_VIDEOS
    assert options["opset"].default == DEFAULT_OPSET
    assert Checkpoint.load(checkpoint_path).classes == ("Run", "Jump", "Throw")


def test_bf16_is_judged_and_said(checkpoint_path, tmp_path):
    """Where this machine cannot, it is one line and no file."""
    out = tmp_path / "model.onnx"
    result = run(checkpoint_path, out, "--bf16", "--gate", "max_abs=none", "--gate", "mean_abs=0.1")
    if result.exit_code == 2:
        assert "bfloat16" in result.stderr
        assert not out.exists()
        return
    assert result.exit_code == 0, result.stderr
    assert "with --bf16: cas mean" in result.stderr
    assert contract_of(out).parity["bf16"]["gate"]["mean_abs"] == 0.1
    assert "int8-trt do not" in fails(checkpoint_path, out, "--bf16", "--precision", "int8-trt")


def test_a_name_with_another_ending_is_no_folder(checkpoint_path, tmp_path):
    assert "expected a name that ends in .onnx" in fails(checkpoint_path, tmp_path / "model.txt")
    assert list(tmp_path.iterdir()) == []
