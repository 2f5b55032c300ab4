"""co2net-triton's folder, without a server."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.triton import main
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import sha256
from co2net_runtime.files.records import from_mapping
from co2net_runtime.serving.answers import answer, from_tensors, to_tensors
from co2net_runtime.serving.config import ServerOptions
from co2net_runtime.serving.repository import write_repository


@pytest.fixture
def run(tiny_path, tmp_path):
    def command(*options, model=tiny_path):
        return CliRunner().invoke(main, [str(model), str(tmp_path / "out"), *options])

    return command


def parameter(config, key):
    (text,) = re.findall(rf'key: "{key}" value: {{ string_value: (".*") }} }}', config)
    return json.loads(text)


def test_the_folder_holds_the_artefact_and_what_runs_it(run, tiny_path, tmp_path):
    done = run("--threads", "3", "--instances", "4", "--max-batch", "5", "--max-queue", "6",
               "--queue-timeout", "7")  # fmt: skip
    folder = tmp_path / "out" / "co2net"
    assert (done.exit_code, done.stdout) == (0, f"{folder}\n")
    assert sorted(path.name for path in (folder / "1").iterdir()) == [
        "model.chunk.onnx", "model.onnx", "model.py",
    ]  # fmt: skip
    assert (folder / "1" / "model.onnx").read_bytes() == tiny_path.read_bytes()
    config = (folder / "config.pbtxt").read_text()
    for line in ("dims: [ -1, 16 ]", "kind: KIND_CPU count: 4", "max_batch_size: 5",
                 "max_queue_size: 6", "default_timeout_microseconds: 7000000"):  # fmt: skip
        assert line in config
    assert Contract.from_json(parameter(config, "contract"), "") == read_contract(tiny_path)
    assert parameter(config, "sha256") == sha256(tiny_path)
    engine = from_mapping(EngineOptions, json.loads(parameter(config, "engine")), "")
    assert engine == EngineOptions(device="cpu", threads=3)


def test_a_name_is_taken_once_and_nothing_is_left(run, tmp_path):
    assert run().exit_code == 0
    again = run()
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert run("--overwrite", "--instances", "9").exit_code == 0
    assert "count: 9" in (tmp_path / "out" / "co2net" / "config.pbtxt").read_text()
    assert run("--name", "two").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["co2net", "two"]
    for name in ("a b", "..", ".hidden", "a/b/.."):
        assert run("--name", name).exit_code == 2


def test_a_folder_that_cannot_be_finished_is_not_there(tiny_path, tmp_path, monkeypatch):
    def full(*_):
        raise InputError("disk full")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="disk full"):
        write_repository(
            tiny_path, read_contract(tiny_path), tmp_path / "out" / "co2net",
            EngineOptions(), ServerOptions(),
        )  # fmt: skip
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "group", "device"),
    [
        (["--device", "cuda"], "kind: KIND_GPU count: 2 }", "cuda"),
        (["--device", "cuda:1"], "kind: KIND_GPU count: 2 gpus: [ 1 ] }", "cuda:1"),
        (["--backend", "tensorrt"], "kind: KIND_GPU count: 2 }", "cuda"),
        ([], "kind: KIND_CPU count: 2 }", "cpu"),
    ],
)
def test_gpus_are_tritons_to_deal_out(run, tmp_path, options, group, device):
    assert run(*options).exit_code == 0
    config = (tmp_path / "out" / "co2net" / "config.pbtxt").read_text()
    assert group in config
    assert json.loads(parameter(config, "engine"))["device"] == device


def test_the_network_alone_for_tritons_own_onnx_runtime(run, tmp_path):
    assert run("--network-only", "--backend", "onnxruntime-tensorrt",
               "--profile", "1x1:4x64:8x512").exit_code == 0  # fmt: skip
    folder = tmp_path / "out" / "co2net"
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["model.onnx"]
    assert np.fromfile(folder / "warmup" / "length", "<i8").tolist() == [64]
    config = (folder / "config.pbtxt").read_text()
    for line in ('platform: "onnxruntime_onnx"', "max_batch_size: 8", "KIND_GPU",
                 'value: "features:8x512x16,lengths:8"', 'value: "features:1x1x16,lengths:1"',
                 '"cas" data_type: TYPE_FP32 dims: [ -1, 4 ]'):  # fmt: skip
        assert line in config
    assert run("--network-only", "--backend", "openvino", "--name", "x").exit_code == 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tiny.chunk.onnx", "the graph for"),
        ("tiny.npz", "not a model"),
        ("model.engine", "an engine fits one GPU"),
        ("none.onnx", "none.onnx"),
    ],
)
def test_what_is_no_model_to_serve(run, tiny_path, tmp_path, model, message):
    done = run(model=tiny_path.parent / model)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_the_engine_cannot_run_is_refused(run, tiny_path):
    done = run("--backend", "tensorrt", model=tiny_path.parent / "tiny.int8-cpu.onnx")
    assert done.exit_code == 2
    assert "int8-trt" in done.stderr


def test_tensors_and_back(localizer, videos):
    found = [localizer(video) for video in videos(1, 40, 80)]
    for wanted, one in zip(
        found, from_tensors(to_tensors(found), localizer.contract.classes), strict=True
    ):
        assert one.to_records() == wanted.to_records()
    assert from_tensors(to_tensors([]), ("a",)) == []


def test_requests_fail_alone(localizer, videos):
    (good,) = videos(30)
    bad = np.full((1, 4, 16), np.nan, np.float32)
    first, nan, pair, empty = answer(
        localizer, [good[None], bad, np.stack([good, good]), np.zeros((0, 4, 16), np.float32)]
    )
    wanted = localizer(good).to_records()
    assert [one.to_records() for one in (*first, *pair)] == [wanted] * 3
    assert isinstance(nan, InputError)
    assert empty == []
    pair, (alone,) = answer(localizer, [np.stack([good, good]), good[None]])
    assert [one.to_records() for one in (*pair, alone)] == [wanted] * 3
    assert isinstance(first[0], Detections)
