import json
import shutil

import pytest
from click.testing import CliRunner

from co2net_runtime.cli import engine as engine_cli
from co2net_runtime.cli import infer as infer_cli


@pytest.fixture
def build(tiny_path):
    def run(*arguments, model=tiny_path):
        return CliRunner().invoke(engine_cli.main, [str(model), *map(str, arguments)])

    return run


def test_builds_into_the_cache_where_infer_finds_it(build, box, feature_folder, tiny_path):
    done = build("--profile", "1x1:1x20:2x50")
    assert done.exit_code == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith(".engine")
    assert "tiny.chunk-" in second
    assert "building the TensorRT engine" in done.stderr
    infer = CliRunner().invoke(
        infer_cli.main,
        [str(tiny_path), str(feature_folder(30)), "--backend", "tensorrt"],
    )
    assert infer.exit_code == 0, infer.stderr
    assert json.loads(infer.stdout)["external_data"]["engine"] == {
        "engine": "tensorrt",
        "version": "10.13.3.9",
        "provider": "TensorRT",
        "device": "cuda:0",
        "precision": "fp32",
        "device_name": "Stand-in GPU",
    }
    assert len(box.builds) == 2  # the model and its chunk graph


def test_builds_what_it_is_told_beside_what_is_there(build, box):
    first = build("--profile", "1x1:1x20:2x50").stdout
    second = build().stdout
    assert first != second
    assert build().stdout == second
    assert len(box.builds) == 4


def test_builds_a_file_that_stands_alone(build, box, feature_folder, tmp_path):
    out = tmp_path / "engines" / "model.engine"
    done = build("--out", out, "--hardware-compatible", "--version-compatible", "--json", "-q")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    said, chunks = map(json.loads, done.stdout.splitlines())
    assert said["path"] == str(out)
    assert chunks["path"] == str(out.with_name("model.chunk.engine"))
    assert chunks["contract"]["graph"] == "chunk"
    assert said["hardware_compatible"]
    assert said["profiles"] == ["1x1:1x256:8x512", "1x1:1x1500:1x4160"]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(out.parent, elsewhere)
    arguments = [str(elsewhere / "model.engine"), str(feature_folder(30, 5000)), "-q"]
    infer = CliRunner().invoke(infer_cli.main, arguments)
    assert infer.exit_code == 0, infer.stderr
    assert len(box.builds) == 2


def test_a_timing_cache_goes_from_board_to_board(build, box, tmp_path):
    """It is no part of what an engine is: the engine that is there serves with any."""
    timing = tmp_path / "fleet" / "orin.cache"
    assert build("--timing-cache", timing).exit_code == 0
    known = timing.read_bytes()
    assert known.startswith(box.timing_header())
    assert build("--timing-cache", timing, "--cache", tmp_path / "other").exit_code == 0
    assert box.builds[-1][1].timing.content.count(b"+") > known.count(b"+")
    builds = len(box.builds)
    assert build().exit_code == 0
    assert len(box.builds) == builds


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--hardware-compatible"], "--hardware-compatible needs --out FILE.engine"),
        (["--out", "x.plan"], "expected a name that ends in .engine"),
        (["--profile", "1"], "expected MIN:OPT:MAX"),
        (["--device", "cuda:3"], "the NVIDIA driver knows 1 GPUs"),
        (["--device", "cpu"], "runs on cuda, not on cpu"),
    ],
)
def test_usage_errors(build, box, options, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = build(*options)
    assert done.exit_code == 2
    assert text in done.stderr
    assert not list(tmp_path.rglob("*.engine"))


def test_a_refused_build_leaves_no_file(build, box, tmp_path):
    box.fail_build = "no implementation"
    done = build("--out", tmp_path / "x.engine")
    assert done.exit_code == 2
    assert "TensorRT refuses to build the engine of" in done.stderr
    assert "no implementation" in done.stderr
    assert not list(tmp_path.glob("x*"))
    assert not box.cuda.streams


def test_a_cache_that_cannot_be_written(build, box, tmp_path):
    (tmp_path / "cache").touch()
    done = build()
    assert done.exit_code == 2
    assert "give --cache or --out" in done.stderr
    assert not box.builds


def test_without_tensorrt(build):
    done = build()
    assert done.exit_code == 2
    assert "the NVIDIA driver knows 0 GPUs" in done.stderr
