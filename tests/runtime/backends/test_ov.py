"""OpenVINO: the same results, the precision that was asked for, one core for the process."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.artefact import onnx_file
from co2net_runtime.backends import EngineOptions, ov
from co2net_runtime.backends.selection import SHORT, open_backend
from co2net_runtime.cli.infer import main
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError
from co2net_runtime.live.steps import Step, StreamState, advance
from co2net_runtime.localizer import Localizer

openvino = pytest.importorskip("openvino")

DATA = Path(__file__).parents[1] / "data"
CPU = EngineOptions(backend="openvino", device="cpu", threads=1)
ORT = EngineOptions(backend="onnxruntime", device="cpu", threads=1)
HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny_pool.onnx", "tiny.fp16.onnx", "tiny_cpu.onnx"])
def test_computes_what_onnxruntime_computes(name, videos):
    with Localizer.load(DATA / name, CPU) as ours, Localizer.load(DATA / name, ORT) as other:
        found = ours.network.run(videos(1, 7, 40), size=3)
        for one, expected in zip(found, other.network.run(videos(1, 7, 40)), strict=True):
            np.testing.assert_allclose(one.cas, expected.cas, atol=2e-3 if "fp16" in name else 2e-5)
            np.testing.assert_allclose(one.attention, expected.attention, atol=2e-3)


def test_int8_is_close(videos):
    name = DATA / "tiny.int8-cpu.onnx"
    with Localizer.load(name, CPU) as ours, Localizer.load(name, ORT) as other:
        found, expected = ours.network.run(videos(40))[0], other.network.run(videos(40))[0]
        assert ours.engine.precision == "int8-cpu"
        np.testing.assert_allclose(found.cas, expected.cas, atol=0.1)


def test_chunks_and_streams(videos):
    (features,) = videos(60)
    with Localizer.load(DATA / "tiny.onnx", CPU, chunk=16) as chunked:
        found = chunked.network.run([features])[0]
    with Localizer.load(DATA / "tiny.onnx", CPU) as whole:
        np.testing.assert_allclose(found.cas, whole.network.run([features])[0].cas, atol=1e-5)
    steps = []
    for options in (CPU, ORT):
        with open_backend(DATA / "tiny.live.onnx", options) as backend:
            contract = backend.contract
            carried = StreamState.initial(contract)
            context = features.mean(axis=0)
            (rows,) = advance(backend.infer, contract, [Step(carried, features, context)])
            steps.append(rows)
    np.testing.assert_allclose(steps[0], steps[1], atol=2e-5)


def test_the_same_call_gives_the_same_bits(videos):
    (short,), (long,) = videos(20), videos(90)
    with Localizer.load(DATA / "tiny.onnx", CPU) as localizer:
        before = localizer.network.run([short])[0].cas
        # a larger input after a smaller one, and from other threads
        localizer.network.run([long])
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(lambda _: localizer.network.run([short])[0].cas, range(6)))
        for cas in found:
            np.testing.assert_array_equal(cas, before)


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")
@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.int8-cpu.onnx"])
def test_auto_finds_an_engine_with_bf16(name, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with open_backend(DATA / name, EngineOptions(device="cpu", bf16=True)) as backend:
        assert backend.info.engine == "openvino"
        int8 = "int8-cpu and " if "int8" in name else ""
        assert backend.info.precision == f"{int8}bf16"


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")
def test_bf16_is_asked_for_by_name(videos):
    with Localizer.load(DATA / "tiny.onnx", CPU) as exact:
        assert exact.engine.precision == "fp32"
        expected = exact.network.run(videos(40))[0].cas
    with Localizer.load(DATA / "tiny.onnx", replace(CPU, bf16=True)) as rounded:
        assert rounded.engine.precision == "bf16"
        difference = np.abs(rounded.network.run(videos(40))[0].cas - expected).max()
    assert 1e-4 < difference < 0.2


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")
def test_infer_says_where_bf16_was_not_judged(feature_folder, monkeypatch):
    arguments = [str(DATA / "tiny.onnx"), str(feature_folder(5)), "--bf16", "--threads", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert "was not judged when it was exported (co2net-export --bf16 does)" in result.stderr
    read = onnx_file.read_contract

    def judged(path):
        return replace(read(path), parity={"bf16": {}})

    monkeypatch.setattr(
        "co2net_runtime.network.network.open_backend", partial(open_backend, read=judged)
    )
    assert "judged" not in CliRunner().invoke(main, arguments).stderr


def test_bf16_is_refused_for_the_form_that_loses_too_much():
    with pytest.raises(BackendError, match="use the file exported without --optimize cpu"):
        open_backend(DATA / "tiny_cpu.onnx", replace(CPU, bf16=True))


def test_bf16_is_refused_where_the_processor_has_none(monkeypatch):
    class Core:
        available_devices = ("CPU",)

        def get_property(self, _, what):
            return ["FP32"] if "CAPABILITIES" in what else "an old processor"

    monkeypatch.setattr(ov, "_core", Core)
    with pytest.raises(BackendError, match="an old processor does not compute in bfloat16"):
        open_backend(DATA / "tiny.onnx", replace(CPU, bf16=True))


def test_bf16_in_onnxruntime_is_for_arm(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(BackendError, match="on Arm processors only: --backend openvino"):
        open_backend(DATA / "tiny.onnx", replace(ORT, bf16=True))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    session = open_backend(DATA / "tiny.onnx", replace(ORT, bf16=True))._session
    key = "mlas.enable_gemm_fastmath_arm64_bfloat16"
    assert session.get_session_options().get_session_config_entry(key) == "1"


def test_an_optimized_file_takes_its_plain_form(videos):
    """In the fast one, from 80 snippets on, OpenVINO computes the first snippet wrongly."""
    ragged = videos(79, 80, 300, 90)
    with (
        Localizer.load(DATA / "tiny.onnx", CPU) as plain,
        Localizer.load(DATA / "tiny_cpu.onnx", CPU) as optimized,
    ):
        assert optimized.network.cpu_form == "plain"
        assert not optimized.network.is_packing
        for one, other in zip(
            plain.network.run(ragged), optimized.network.run(ragged), strict=True
        ):
            np.testing.assert_array_equal(one.cas, other.cas)


def test_int8_for_tensorrt_is_refused():
    with pytest.raises(BackendError, match="export with --precision int8-cpu"):
        open_backend(DATA / "tiny.int8-trt.onnx", CPU)


def test_a_device_that_is_not_there():
    with pytest.raises(BackendError, match="gpu:3 was asked for, but OpenVINO finds only CPU"):
        open_backend(DATA / "tiny.onnx", replace(CPU, device="gpu:3"))
    with pytest.raises(InputError, match="openvino runs on cpu or gpu, not on cuda:0"):
        open_backend(DATA / "tiny.onnx", replace(CPU, device="cuda:0"))


def test_without_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    ov._core.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'co2net\[openvino\]'"):
        open_backend(DATA / "tiny.onnx", CPU)


def test_auto_takes_what_was_measured_best(monkeypatch):
    pytest.importorskip("onnxruntime")
    auto = EngineOptions(device="cpu")
    names = {"tiny.onnx": "openvino", "tiny_cpu.onnx": "onnxruntime"}
    names |= dict.fromkeys(
        ("tiny.int8-trt.onnx", "tiny.int8-cpu.onnx", "tiny.live.onnx"), "onnxruntime"
    )
    for name, engine in names.items():
        with open_backend(DATA / name, auto) as backend:
            assert backend.info.engine == engine
    for length, engine in ((SHORT, "openvino"), (SHORT + 1, "onnxruntime")):
        short = replace(auto, typical_length=length)
        with open_backend(DATA / "tiny.int8-cpu.onnx", short) as backend:
            assert backend.info.engine == engine
    monkeypatch.setitem(sys.modules, "openvino", None)
    with open_backend(DATA / "tiny.onnx", auto) as backend:
        assert backend.info.engine == "onnxruntime"


def test_the_compiled_model_is_kept_by_content(cache, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes((DATA / "tiny.onnx").read_bytes())
    open_backend(model, CPU).close()
    (first,) = (cache / "openvino").iterdir()
    open_backend(model, CPU).close()
    assert list((cache / "openvino").iterdir()) == [first]
    model.write_bytes((DATA / "tiny_pool.onnx").read_bytes())
    open_backend(model, CPU).close()
    assert len(list((cache / "openvino").iterdir())) == 2


def test_a_closed_model(videos):
    backend = open_backend(DATA / "tiny.onnx", CPU)
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer({"features": np.stack(videos(5)), "lengths": np.array([5])})


def test_what_openvino_refuses_is_one_line():
    with open_backend(DATA / "tiny.onnx", CPU) as backend:
        feeds = {"features": np.zeros((1, 5, 7), np.float32), "lengths": np.array([5])}
        with pytest.raises(BackendError, match=r"^OpenVINO: .*incompatible[^\n]*$"):
            backend.infer(feeds)


def test_a_signal_after_many_models():
    # with a core for each model, OpenVINO leaves a freed signal stack behind: Ctrl-C would crash
    program = f"""
import os, signal
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.selection import SHORT, open_backend
def run():
    opened = [open_backend({str(DATA / "tiny.onnx")!r}, EngineOptions("openvino", "cpu"))
              for _ in range(3)]
    opened[0].close()
    del opened[0]
for _ in range(3):
    run()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(ov.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), signal.Signals(-done.returncode)
