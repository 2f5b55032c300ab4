"""Engines in the cache folder: built once, never a wrong one, whatever happens to the files."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import gpus
from co2net_runtime.backends.trt.build import build_engine
from co2net_runtime.backends.trt.cache import (
    Target,
    cached_engine,
    read_any_contract,
    sidecar,
    write_engine,
)
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.localizer import Localizer

OPTIONS = TensorRtOptions(profiles=(Profile((1, 1, 2), (1, 50, 100)),))


@pytest.fixture
def start(box, tiny_path, videos):
    """Open the model as a new process would, run one video, and return the engine file."""

    def open_(path=tiny_path, options=OPTIONS, **others):
        with Localizer.load(
            path, EngineOptions(backend="tensorrt", tensorrt=options, **others)
        ) as opened:
            opened(videos(20)[0])
        found = list(Path(os.environ["CO2NET_CACHE"]).glob("tensorrt/*.engine"))
        return found[-1] if found else None

    return open_


def test_built_once(start, box, caplog):
    caplog.set_level("INFO", logger="co2net_runtime")  # whatever a CLI left it at
    engine = start()
    assert "building the TensorRT engine" in caplog.text
    caplog.clear()
    assert start() == engine
    assert len(box.builds) == 1
    assert not caplog.text


def test_the_sidecar_says_what_the_engine_is(start, tiny_path):
    engine = start()
    record = json.loads(sidecar(engine).read_text())
    assert record["tensorrt"] == "10.13.3.9"
    assert (record["gpu"], record["compute_capability"]) == ("Stand-in GPU", "8.7")
    assert record["profiles"] == ["1x1:1x50:2x100"]
    assert record["contract"]["precision"] == "fp32"
    assert record["contract"]["classes"] == ["Run", "Jump", "Throw"]
    assert not record["tf32"]
    assert record["layers"]["fusion.0"]["reads"] == "fp32"
    assert len(record["onnx_sha256"]) == len(record["engine_sha256"]) == 64
    # raw, as trtexec loads it
    assert engine.read_bytes().startswith(b"standin-engine")
    assert "stand-in-gpu" in engine.name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "truncated or changed"),
        (lambda path: path.write_bytes(b""), "truncated or changed"),
        (lambda path: sidecar(path).unlink(), "an engine without"),
        (lambda path: sidecar(path).write_text("{"), "damaged"),
        (lambda path: sidecar(path).write_text('{"schema_version": 2}'), "is missing"),
        (lambda path: sidecar(path).write_text('{"schema_version": 9}'), "schema version 9"),
    ],
)
def test_a_damaged_engine_is_built_again(start, box, caplog, change, reason):
    engine = start()
    whole = engine.read_bytes()
    change(engine)
    assert start() == engine
    assert reason in caplog.text
    assert "building it again" in caplog.text
    assert len(box.builds) == 2
    assert engine.read_bytes() == whole


def test_another_tensorrt_builds_again(start, box, caplog, monkeypatch):
    start()
    box.tensorrt = "11.4.0.106"
    box.install(monkeypatch.setitem, monkeypatch.setattr)
    start()
    assert "built by TensorRT 10.13.3.9, here is 11.4.0.106" in caplog.text
    assert len(box.builds) == 2


def test_each_gpu_has_its_own_engine(start, box, monkeypatch):
    """Two boxes may share a home folder: they do not build in turns."""
    first = start()
    box.gpu_name = "Another GPU"
    start()
    box.gpu_name = "Stand-in GPU"
    assert start()
    assert len(box.builds) == 2
    assert first.exists()


def test_jetsons_of_one_name_have_their_own(start, box, tmp_path):
    """The driver calls Orin Nano, NX and AGX all "Orin", 8.7; TensorRT itself only warns."""
    first = start()
    engine = tmp_path / "model.engine"
    for source, target in ((first, engine), (sidecar(first), sidecar(engine))):
        shutil.copy(source, target)
    box.multiprocessors = 8
    start()
    assert len(box.builds) == 2
    with pytest.raises(BackendError, match=r"16 multiprocessors.*here is .*8 multiprocessors"):
        start(engine, options=TensorRtOptions())


def test_an_engine_of_another_kind_of_cpu(start, box, monkeypatch):
    engine = start(options=TensorRtOptions(hardware_compatible=True))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BackendError, match=r"here is .*aarch64"):
        start(engine, options=TensorRtOptions())


def test_a_replaced_model_gets_its_own_engine(start, box, tiny_path, tmp_path):
    model = tmp_path / "model.onnx"
    shutil.copy(tiny_path, model)
    start(model)
    shutil.copy(tiny_path.with_name("tiny_pool.onnx"), model)
    start(model)
    assert len(box.builds) == 2
    networks = [network.onnx for network, _ in box.builds]
    assert networks[1] == model.read_bytes() != networks[0]


@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_model_replaced_meanwhile_is_noticed(
    start, box, tiny_path, tmp_path, monkeypatch, moment
):
    model, other = tmp_path / "model.onnx", tiny_path.with_name("tiny_pool.onnx")
    shutil.copy(tiny_path, model)
    target, name = {
        "before": ("co2net_runtime.backends.trt.cache.read_any_contract", read_any_contract),
        "during": ("co2net_runtime.backends.trt.cache.build_engine", build_engine),
    }[moment]

    def replace_first(*arguments, **options):
        shutil.copy(other, model)
        return name(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(target, replace_first)
        with pytest.raises(InputError, match="replaced while its engine was built"):
            start(model)
    start(model)
    assert box.builds[-1][0].onnx == other.read_bytes()


def test_an_engine_of_another_model_in_its_place_is_built_again(start, box, tiny_path, caplog):
    other = start(tiny_path.with_name("tiny_pool.onnx"))
    engine = next(path for path in (start(), *other.parent.glob("tiny-*.engine")) if path != other)
    shutil.copy(other, engine)
    shutil.copy(sidecar(other), sidecar(engine))
    start()
    assert "built from another model file: building it again" in caplog.text
    assert len(box.builds) == 3


def test_build_options_make_another_engine(start, box):
    start()
    for options in (
        TensorRtOptions(profiles=(Profile((1, 1, 1), (1, 50, 100)),)),
        TensorRtOptions(profiles=OPTIONS.profiles, hardware_compatible=True),
        TensorRtOptions(profiles=OPTIONS.profiles, version_compatible=True),
        TensorRtOptions(profiles=OPTIONS.profiles, workspace_mib=64),
    ):
        start(options=options)
    start(tf32=True)
    assert len(box.builds) == 6
    start(options=TensorRtOptions(profiles=OPTIONS.profiles, cuda_graphs=True))  # no build option
    assert len(box.builds) == 6


def test_without_profiles_the_engine_that_is_there_serves(start, box):
    """co2net-engine --profile ..., then co2net-infer without."""
    start()
    start(options=TensorRtOptions())
    assert len(box.builds) == 1
    start(options=TensorRtOptions(), tf32=True)  # another engine in all but name
    assert len(box.builds) == 2
    assert [profile.shapes["features"][2] for profile in box.builds[1][1].profiles] == [
        [8, 512, 16],
        [1, 4160, 16],
    ]


def test_a_compatible_engine_serves_other_boxes(start, box, monkeypatch):
    options = TensorRtOptions(
        profiles=OPTIONS.profiles, hardware_compatible=True, version_compatible=True
    )
    engine = start(options=options)
    box.tensorrt = "10.14.0"
    box.install(monkeypatch.setitem, monkeypatch.setattr)
    start(options=options)
    assert len(box.builds) == 1
    box.gpu_name, box.capability = "Newer GPU", (9, 0)
    start(engine, options=TensorRtOptions())
    box.capability = (7, 5)
    with pytest.raises(BackendError, match=r"here is Newer GPU \(compute capability 7.5"):
        start(engine, options=TensorRtOptions())
    box.capability = (9, 0)
    for version in ("10.12.0", "11.4.0"):  # older, and of another major version
        box.tensorrt = version
        box.install(monkeypatch.setitem, monkeypatch.setattr)
        with pytest.raises(BackendError, match=f"here is {version}"):
            start(engine, options=TensorRtOptions())


def test_an_engine_given_by_name_is_never_rebuilt(start, box, tmp_path, monkeypatch):
    cached = start()
    engine = tmp_path / "model.engine"
    for source, target in ((cached, engine), (sidecar(cached), sidecar(engine))):
        shutil.copy(source, target)
    start(engine, options=TensorRtOptions())
    box.gpu_name = "Another GPU"
    with pytest.raises(BackendError, match=r"built on Stand-in GPU .* here is Another GPU"):
        start(engine, options=TensorRtOptions())
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated or changed since it was built"):
        start(engine, options=TensorRtOptions())
    engine.unlink()
    with pytest.raises(InputError, match="no such file"):
        start(engine, options=TensorRtOptions())
    assert len(box.builds) == 1


def test_an_engine_that_tensorrt_refuses(start, box, tmp_path):
    """Hashes fit, and it is still no engine: the error is TensorRT's own."""
    import hashlib

    cached = start()
    record = json.loads(sidecar(cached).read_text())
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"no engine")
    record["engine_sha256"] = hashlib.sha256(b"no engine").hexdigest()
    sidecar(engine).write_text(json.dumps(record))
    with pytest.raises(BackendError, match="TensorRT refuses the engine: magicTag"):
        start(engine, options=TensorRtOptions())
    assert not box.cuda.streams


@pytest.mark.parametrize("where", ["folder", "file"])
def test_a_cache_that_cannot_be_written_costs_only_time(start, box, caplog, monkeypatch, where):
    if where == "folder":
        blocked = Path(os.environ["CO2NET_CACHE"])
        blocked.touch()  # a file where the folder should be
    else:

        def full(path, engine, record):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        monkeypatch.setattr("co2net_runtime.backends.trt.cache.write_engine", full)
    assert start() is None
    assert start() is None
    assert len(box.builds) == 2
    assert "the engine is built again at each start" in caplog.text


def test_a_full_disk_leaves_no_half_engine(start, box, tmp_path, monkeypatch):
    engine = start()
    content, record = engine.read_bytes(), sidecar(engine).read_text()
    write = Path.write_bytes

    def half(self, data):
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    sidecar(engine).unlink()
    monkeypatch.setattr(Path, "write_bytes", half)
    start()
    monkeypatch.undo()
    assert engine.read_bytes() == content
    assert not sidecar(engine).exists()
    left = {path.name for path in engine.parent.iterdir()}
    assert not [name for name in left if name.startswith(".")]
    assert json.loads(record)["schema_version"] == 2


def test_two_processes_build_one_engine(tiny_path, tmp_path):
    pytest.importorskip("onnx")
    program = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[4])!r}, {str(Path(__file__).parents[4] / "runtime")!r}]
from tests.runtime.standin.box import Box
Box().install()
import numpy as np
from co2net_runtime.backends import EngineOptions
from co2net_runtime.localizer import Localizer
with Localizer.load({str(tiny_path)!r}, EngineOptions(backend="tensorrt")) as opened:
    opened(np.ones((20, 16), np.float32))
"""
    environment = {
        **os.environ,
        "CO2NET_CACHE": str(tmp_path / "cache"),
        "STANDIN_BUILDS": str(tmp_path / "builds"),
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr.decode()
    assert len((tmp_path / "builds").read_text().splitlines()) == 1


def test_the_timing_cache_goes_from_build_to_build(start, box, monkeypatch, caplog):
    caplog.set_level("INFO", logger="co2net_runtime")  # whatever a CLI left it at
    start()
    start(options=TensorRtOptions(profiles=(Profile((1, 1, 1), (1, 9, 90)),)))
    second = box.builds[1][1]
    assert second.timing.content.startswith(box.timing_header() * 2)
    (timing,) = Path(os.environ["CO2NET_CACHE"]).glob("tensorrt/timing-*.cache")
    assert timing.name.startswith("timing-stand-in-gpu-")
    assert timing.name.endswith("-10.13.3.9.cache")
    timing.write_bytes(b"of another GPU")
    start(options=TensorRtOptions(profiles=(Profile((1, 1, 1), (1, 8, 90)),)))
    assert "the timing cache: it gives no reason: starting a new one" in caplog.text
    assert timing.read_bytes().startswith(box.timing_header())


def test_a_crash_between_engine_and_sidecar_is_noticed(start, box, tiny_path, monkeypatch):
    """The engine is new, the sidecar still the old one."""
    engine = start()
    target = Target(gpus()[0], box.tensorrt)
    newer, record = cached_engine(tiny_path, EngineOptions(tensorrt=OPTIONS), target)

    def crash(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr("co2net_runtime.backends.trt.cache.write_text", crash)
    with pytest.raises(KeyboardInterrupt):
        write_engine(engine, newer + b"x", record)
    monkeypatch.undo()
    box.install(monkeypatch.setitem, monkeypatch.setattr)
    monkeypatch.setenv("CO2NET_CACHE", str(engine.parents[1]))
    start()
    assert len(box.builds) == 2
