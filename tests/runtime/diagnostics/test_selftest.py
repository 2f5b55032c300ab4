import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.cli import doctor as doctor_cli
from co2net_runtime.diagnostics import selftest
from co2net_runtime.network.network import Network


def test_the_models_that_come_along_pass_on_the_cpu():
    results = list(selftest.run())
    assert {one.precision for one in results} == {"fp32", "fp16", "int8-cpu", "int8-trt"}
    on_cpu = [one for one in results if one.setup == "onnxruntime cpu"]
    assert [one.status for one in on_cpu] == ["passed"] * 4
    # and with room to spare, so that a bound is not met by luck
    assert all(max(one.cas, one.attention) < 0.8 * one.bound for one in on_cpu)
    assert all(one.detail for one in results if one.status == "not here")


@pytest.fixture
def fp32():
    return selftest.FOLDER / "fp32.onnx"


def test_tensorrt_is_run_with_and_without_recorded_launches(box, fp32):
    results = {one.setup: one for one in selftest.run([fp32])}
    for setup in ("tensorrt cuda:0", "tensorrt cuda:0 cuda-graphs"):
        assert results[setup].status == "passed", results[setup]
        assert (
            results[setup].engine == "tensorrt 10.13.3.9, TensorRT, fp32 on cuda:0 (Stand-in GPU)"
        )
    assert len(box.builds) == 1
    assert box.cuda.recordings > 0
    assert not box.cuda.blocks
    assert results["openvino cpu"].status in ("not here", "passed")


def test_the_report_says_what_the_layers_compute_in(box):
    int8 = selftest.FOLDER / "int8-trt.onnx"
    results = {one.setup: one for one in selftest.run([int8])}
    assert results["tensorrt cuda:0"].layers == "6 layers read fp16, 4 int8, 3 fp32"
    text = doctor_cli._results_table([results["tensorrt cuda:0"]])
    assert "on cuda:0 (Stand-in GPU); 6 layers read fp16, 4 int8, 3 fp32 |" in text


def test_the_chunk_graph_runs_beside_the_model(box, monkeypatch):
    """In an engine of its own; one that computes something else is noticed."""
    fp16 = selftest.FOLDER / "fp16.onnx"
    results = {one.setup: one for one in selftest.run([fp16])}
    assert results["tensorrt cuda:0"].status == "passed"
    assert len(box.builds) == 2
    original = Network.run

    def off(self, videos, *, size=None):
        found = original(self, videos, size=size)
        in_chunks = self.longest_whole == selftest.CHUNK and self.engine.engine == "tensorrt"
        return [dataclasses.replace(one, cas=one.cas + in_chunks) for one in found]

    monkeypatch.setattr(Network, "run", off)
    results = {one.setup: one for one in selftest.run([fp16])}
    assert results["tensorrt cuda:0"].status == "failed"
    assert results["onnxruntime cpu"].status == "ran"


def test_int8_of_the_cpu_is_not_tried_in_tensorrt(box):
    setups = {one.setup for one in selftest.run([selftest.FOLDER / "int8-cpu.onnx"])}
    assert not [setup for setup in setups if "tensorrt" in setup]


def test_an_engine_that_computes_wrongly_fails(box, fp32, monkeypatch):
    original = Network.run

    def off(self, videos, *, size=None):
        found = original(self, videos, size=size)
        if self.engine.engine != "tensorrt":
            return found
        shift = np.float32(1e-3 if size else 0)  # only in batches
        return [dataclasses.replace(one, cas=one.cas + shift) for one in found]

    monkeypatch.setattr(Network, "run", off)
    results = {one.setup: one for one in selftest.run([fp32])}
    assert results["tensorrt cuda:0"].status == "failed"
    assert "above the bound" in results["tensorrt cuda:0"].detail
    assert results["tensorrt cuda:0"].cas > 1e-4
    assert results["onnxruntime cpu"].status == "ran"  # a user's model: nothing to compare with


def test_nan_fails(fp32, monkeypatch):
    original = Network.run

    def broken(self, videos, *, size=None):
        found = original(self, videos, size=size)
        found[0].attention[0] = np.nan
        return found

    monkeypatch.setattr(Network, "run", broken)
    results = {one.setup: one for one in selftest.run([fp32])}
    assert results["onnxruntime cpu"].status == "failed"
    assert results["onnxruntime cpu"].detail == "NaN or infinite outputs"


def test_what_fails_to_start_is_told(box, fp32):
    box.fail_build = "no implementation"
    results = {one.setup: one for one in selftest.run([fp32])}
    assert results["tensorrt cuda:0"].status == "failed"
    assert "no implementation" in results["tensorrt cuda:0"].detail


def test_what_nobody_foresaw_is_told_and_the_rest_runs(box, fp32, monkeypatch):
    def surprise(self, index):
        raise AttributeError("no such call")

    monkeypatch.setattr("tests.runtime.standin.engine.Engine.get_tensor_name", surprise)
    results = {one.setup: one for one in selftest.run([fp32])}
    for setup in ("tensorrt cuda:0", "tensorrt cuda:0 cuda-graphs"):
        assert results[setup].status == "failed"
        where = r"AttributeError in backends/trt/backend.py:\d+: no such call"
        assert re.fullmatch(where, results[setup].detail)
    assert results["onnxruntime cpu"].status == "ran"


def test_the_report_can_be_sent(tmp_path, fp32):
    arguments = [str(fp32), "--selftest", "--out", str(tmp_path / "report"), "-q"]
    done = CliRunner().invoke(doctor_cli.main, arguments)
    document = json.loads((tmp_path / "report" / "co2net-selftest.json").read_text())
    assert {one["setup"] for one in document["selftest"]} >= {"onnxruntime cpu", "tensorrt cuda:0"}
    assert document["checks"]
    text = (tmp_path / "report" / "co2net-selftest.md").read_text()
    assert "| fp32.onnx | onnxruntime cpu | ran |" in text
    assert "- tensorrt cuda:0: " in text
    assert done.stdout.count("| fp32.onnx |") == text.count("| fp32.onnx |")


def test_a_failure_sets_the_exit_code(box, fp32, monkeypatch):
    box.fail_build = "no implementation"
    done = CliRunner().invoke(doctor_cli.main, [str(fp32), "--selftest", "--json", "-q"])
    assert done.exit_code == 1
    done = CliRunner().invoke(doctor_cli.main, [str(fp32), "--out", "x"])
    assert done.exit_code == 2
    assert "--out is for the result of --selftest" in done.stderr
