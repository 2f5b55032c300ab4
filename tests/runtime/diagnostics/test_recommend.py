"""What the doctor recommends: the fastest of files and engines, and what it changes."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.doctor import main
from co2net_runtime.diagnostics import recommend as module
from co2net_runtime.diagnostics.recommend import recommend

pytest.importorskip("onnxruntime")

DATA = Path(__file__).parents[1] / "data"
OPTIONS = EngineOptions(device="cpu", threads=1)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "BUDGET_S", 0.0)
    folder = tmp_path / "models"
    folder.mkdir()
    for source, name in {
        "tiny.onnx": "m.onnx",
        "tiny.int8-cpu.onnx": "m.int8.onnx",
        "tiny.int8-trt.onnx": "m.int8-trt.onnx",
        "tiny.chunk.onnx": "m.chunk.onnx",
    }.items():
        shutil.copy(DATA / source, folder / name)
    shutil.copy(DATA / "tiny.onnx", folder / "m.other.onnx")
    (folder / "m.broken.onnx").write_bytes(b"no model")
    return folder / "m.onnx"


@pytest.fixture
def timed(monkeypatch):
    """Say how long each file takes, in place of a clock."""

    def set_(**seconds):
        def fastest(network, timed, budget_s):
            precision = network.contract.precision
            return seconds[precision.partition("-")[0]] * (2 if network.options.bf16 else 1)

        monkeypatch.setattr(module, "_fastest_run", fastest)

    return set_


def test_names_the_fastest_and_what_it_changes(model, timed, feature_folder, monkeypatch):
    timed(fp32=0.3, int8=0.1)
    monkeypatch.setattr(module, "MOST_CHANGED", 1.0)
    found = recommend(model, OPTIONS, feature_folder(30, 80)).found
    assert found.startswith("m.int8.onnx (int8-cpu) with ONNX Runtime: 3.0 times m.onnx (fp32)")
    assert found.endswith(" % of segments moved")


def test_what_moves_too_much_is_not_recommended(model, timed, feature_folder, monkeypatch):
    timed(fp32=0.3, int8=0.1)

    def compare(references, outputs, _options):
        return SimpleNamespace(changed=0.0 if outputs is references else 0.031)

    monkeypatch.setattr(module, "compare_decisions", compare)
    found = recommend(model, OPTIONS, feature_folder(30, 80)).found
    assert (
        found == "m.onnx (fp32) with ONNX Runtime: no other file or engine is clearly faster here"
    )


def test_int8_with_bf16_needs_to_have_been_judged(model, monkeypatch):
    def both(judged):
        setups = module._setups(model, judged=judged)
        return any(one.bf16 and one.precision == "int8-cpu" for one in setups)

    assert both(judged=True)
    assert not both(judged=False)
    parity = {"bf16": {}}
    monkeypatch.setattr(
        module, "read_contract", lambda path: replace(read_contract(path), parity=parity)
    )
    assert both(judged=False)


def test_without_features_only_speed_is_told(model, timed):
    timed(fp32=0.3, int8=0.1)
    assert "speed only: --features FOLDER" in recommend(model, OPTIONS).found


def test_the_model_itself_may_be_best(model, timed):
    timed(fp32=0.1, int8=0.3)
    assert "no other file or engine is clearly faster" in recommend(model, OPTIONS).found


def test_only_files_of_the_same_checkpoint_are_tried(model, monkeypatch):
    def read(path):
        digest = "another" if path.name == "m.other.onnx" else "one"
        return replace(read_contract(path), checkpoint_sha256=digest)

    monkeypatch.setattr(module, "read_contract", read)
    names = {setup.path.name for setup in module._setups(model, judged=True)}
    assert names == {"m.onnx", "m.int8.onnx"}


def test_the_command_measures_and_says_so(model):
    result = CliRunner().invoke(main, [str(model), "--device", "cpu", "--threads", "1"])
    assert "fastest for m.onnx" in result.stdout
    assert "m.onnx (fp32) with " in result.stdout
    assert "measuring m.onnx" in result.stderr
