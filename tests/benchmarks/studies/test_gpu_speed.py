"""The study of a GPU runs to its end, in the pretended one; what a machine lacks is said."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from studies import gpu_speed
from tests.runtime.standin.box import Box

DATA = Path(__file__).parents[2] / "runtime" / "data"


@pytest.fixture
def study(monkeypatch, tmp_path):
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu_speed, "LENGTHS", (5, 90))
    Box().install(monkeypatch.setitem, monkeypatch.setattr)

    def run(*names):
        out = tmp_path / "gpu.md"
        models = [str(DATA / name) for name in names]
        arguments = [*models, "--repeats", "1", "--videos", "3", "--out", str(out)]
        done = CliRunner().invoke(gpu_speed.main, arguments)
        assert done.exit_code == 0, done.stderr
        assert done.stdout == out.read_text()
        return done.stdout

    return run


def test_every_file_in_every_engine(study):
    text = study("tiny.onnx", "tiny.int8-trt.onnx")
    assert "| tiny.onnx, onnxruntime, cpu | 0.0e+00 | 0.0e+00 | - |" in text
    assert "| tiny.int8-trt.onnx, tensorrt, cuda:0, recorded launches |" in text
    assert "| 6 layers read fp16, 4 int8, 3 fp32 |" in text
    assert "- not run: tiny.int8-trt.onnx, onnxruntime, cuda:0: " in text
    assert "multiplies int8 on CPUs only" in text


def test_the_reference_must_run(tmp_path):
    done = CliRunner().invoke(gpu_speed.main, [str(tmp_path / "missing.onnx")])
    assert done.exit_code == 2
    assert "no such file" in done.stderr
