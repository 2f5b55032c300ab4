"""TensorRT natively, against a stand-in that keeps TensorRT's and CUDA's contracts."""

import pickle
import shutil
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from co2net_runtime.artefact.contract import METADATA_KEY
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.cli.engine import build_ahead
from co2net_runtime.errors import BackendError, DeviceLostError, InputError, MissingDependencyError
from co2net_runtime.localizer import Localizer


def same(found, expected):
    np.testing.assert_allclose(found.cas, expected.cas, atol=1e-5)
    np.testing.assert_allclose(found.attention, expected.attention, atol=1e-6)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_equals_onnx_runtime_for_all_lengths(load, localizer, videos, cuda_graphs):
    trt = load(cuda_graphs=cuda_graphs)
    # growing and shrinking, so that buffers hold what longer videos left
    for features in videos(5, 90, 1, 3, 100, 101, 64, 400, 63, 65, 2):
        same(trt.network.run([features])[0], localizer.network.run([features])[0])


def test_fp32_is_fp32_unless_tf32_is_allowed(box, tiny_path, localizer, videos):
    (features,) = videos(90)
    expected = localizer.network.run([features])[0].cas
    apart = {}
    for allowed in (False, True):
        options = EngineOptions(backend="tensorrt", tf32=allowed)
        with Localizer.load(tiny_path, options) as trt:
            found = trt.network.run([features])[0].cas
        apart[allowed] = np.abs(found - expected).max()
    assert apart[False] < 1e-6 < 1e-5 < apart[True]


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_batches_equal_single_videos(load, localizer, videos, cuda_graphs):
    ragged = videos(90, 3, 88, 95, 100, 2, 350, 1, 91)
    trt = load(cuda_graphs=cuda_graphs)
    for found, features in zip(trt.network.run(ragged, size=8), ragged, strict=True):
        same(found, localizer.network.run([features])[0])


def test_batches_keep_to_the_profiles(load, box, videos):
    load().network.run(videos(*[90] * 6, *[300] * 3), size=8)
    shapes = [call[3][:2] for call in box.calls if call[2] == "features"]
    assert shapes == [(1, 300)] * 3 + [(4, 90), (2, 90)]


def test_each_length_runs_in_its_profile(load, box, videos):
    trt = load()
    for features in videos(10, 100, 101, 400, 20):
        trt.network.run([features])[0]
    assert box.profiles_used() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_long_videos_run_in_chunks_that_the_engine_takes(load, localizer, videos, cuda_graphs):
    trt = load(cuda_graphs=cuda_graphs)
    assert trt.network.chunk == 400 - 2 * 3
    for features in videos(394, 395, 401, 1999):
        same(trt.network.run([features])[0], localizer.network.run([features])[0])


def test_the_default_profiles_take_the_default_chunk(box, tiny_path, localizer, videos):
    (features,) = videos(4500)
    for name in ("tiny", "tiny_pool"):
        path = tiny_path.with_name(f"{name}.onnx")
        with (
            Localizer.load(path, EngineOptions(backend="tensorrt")) as trt,
            Localizer.load(path, EngineOptions(device="cpu")) as expected,
        ):
            assert trt.network.chunk == expected.network.chunk == 4096
            same(trt.network.run([features])[0], expected.network.run([features])[0])


def test_beyond_all_profiles(load, box, videos, tiny_path, tmp_path):
    """Without the graph for chunks, a video is as long as the engine takes at most."""
    path = tmp_path / "alone.onnx"
    path.write_bytes(tiny_path.read_bytes())
    trt = load(path)
    with pytest.raises(BackendError, match=r"T = 401 .*1x1:1x200:1x400.*co2net-engine --profile"):
        trt(videos(401)[0])
    assert not box.calls
    trt(videos(400)[0])


def test_recorded_launches_see_new_input(load, box, localizer, videos):
    """The classic mistake gives the first answer forever."""
    trt = load(cuda_graphs=True)
    for features in [*videos(50, 60, 50, seed=1), *videos(50, 60, 50, seed=2)]:
        same(trt.network.run([features])[0], localizer.network.run([features])[0])
    assert box.cuda.recordings == 1  # one bucket
    assert box.cuda.launches == 6
    assert box.executions == 2  # once to settle, once recorded


def test_one_recording_per_bucket_and_profile(load, box, videos):
    trt = load(cuda_graphs=True)
    for features in videos(10, 64, 65, 100, 90, 101, 128, 129, 256, 300, 400):
        trt.network.run([features])[0]
    # 64 and 100 (the longest) in the first, 128, 192, 256, 320 and 400 in the second
    assert box.cuda.recordings == 7
    shapes = {call[3][:2] for call in box.calls if call[2] == "features"}
    assert shapes == {(1, 64), (1, 100), (1, 128), (1, 192), (1, 256), (1, 320), (1, 400)}


def test_recordings_are_kept_up_to_a_number_of_bytes(load, box, videos, monkeypatch, localizer):
    monkeypatch.setattr("co2net_runtime.backends.trt.backend.MAX_RECORDED_BYTES", 10_000)
    trt = load(cuda_graphs=True)
    for features in videos(10, 100, 300, 12, 90, 11):
        same(trt.network.run([features])[0], localizer.network.run([features])[0])
        assert len(box.cuda.recorded) <= 2
    assert box.cuda.recordings == 5  # the last two were still there


def test_threads_take_turns(load, localizer, videos):
    trt = load()
    ragged = videos(*range(60, 90))
    expected = [localizer.network.run([features])[0] for features in ragged]
    with ThreadPoolExecutor(4) as pool:
        for (found,), wanted in zip(
            pool.map(trt.network.run, [[v] for v in ragged]), expected, strict=True
        ):
            same(found, wanted)


def test_closed(load, videos):
    trt = load()
    trt.close()
    with pytest.raises(BackendError, match="the model is closed"):
        trt(videos(3)[0])
    trt.close()


def test_a_pickled_copy_opens_the_engine_again(load, box, videos):
    trt = load()
    with pickle.loads(pickle.dumps(trt)) as copy:
        same(copy.network.run([videos(9)[0]])[0], trt.network.run([videos(9)[0]])[0])
    assert len(box.builds) == 1


def test_says_what_runs(load):
    engine = load().engine
    assert str(engine) == "tensorrt 10.13.3.9, TensorRT, fp32 on cuda:0 (Stand-in GPU)"
    assert load().network.batch_size() == 8


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_failed_run_says_why_and_the_next_goes_on(load, box, localizer, videos, cuda_graphs):
    trt = load(cuda_graphs=cuda_graphs)
    first, second = videos(20, 30)
    trt.network.run([first])[0]
    box.fail_execute = ["the\n  cuTensor   contraction failed"]
    if cuda_graphs:  # the bucket is recorded: a new one must fail
        first = videos(90)[0]
    with pytest.raises(BackendError, match=r"TensorRT: .*the cuTensor contraction failed"):
        trt.network.run([first])[0]
    same(trt.network.run([second])[0], localizer.network.run([second])[0])


@pytest.mark.parametrize("where", ["begin", "work", "end", "instantiate"])
def test_what_cannot_be_recorded_runs_all_the_same(
    load, box, localizer, videos, monkeypatch, caplog, where
):
    trt = load(cuda_graphs=True)
    if where == "begin":
        monkeypatch.setattr(box.cuda, "cuStreamBeginCapture_v2", lambda *_: 900)
    elif where == "instantiate":
        box.cuda.fail_instantiate = 1
    else:
        box.fail_capture = where
    for features in videos(30, 90):
        same(trt.network.run([features])[0], localizer.network.run([features])[0])
    assert caplog.text.count("launches are not recorded, the network runs without") == 1
    assert not box.cuda.launches


def test_what_the_bindings_raise_is_an_error_of_ours(load, box, localizer, videos):
    """They raise where their documentation promises False."""
    trt = load()
    box.fail_shapes = True
    with pytest.raises(BackendError, match=r"refuses the shapes: infer_shapes error code: -1"):
        trt.network.run([videos(20)[0]])
    box.fail_shapes = False
    same(trt.network.run([videos(20)[0]])[0], localizer.network.run([videos(20)[0]])[0])
    box.fail_profile = "the profile is busy"
    with pytest.raises(BackendError, match="refuses the profile: the profile is busy"):
        trt.network.run([videos(300)[0]])
    box.fail_profile = ""
    same(trt.network.run([videos(300)[0]])[0], localizer.network.run([videos(300)[0]])[0])


def test_errors_logged_in_a_call_that_succeeded_are_not_blamed(load, box, videos):
    trt = load()
    box.log_error = "Error Code 1: a tactic was skipped"
    trt.network.run([videos(20)[0]])
    box.log_error = ""
    box.fail_execute = ["the contraction failed"]
    with pytest.raises(BackendError, match=r"refuses the inference: the contraction failed$"):
        trt.network.run([videos(20)[0]])


def test_an_error_that_stays_asks_for_a_restart(load, box, videos):
    """After an illegal address every call of the process fails, whatever it is."""
    trt = load()
    trt.network.run([videos(20)[0]])
    box.cuda.sticky = 700
    for _ in range(2):
        with pytest.raises(DeviceLostError, match=r"illegal memory access .*start the program"):
            trt.network.run([videos(20)[0]])
    box.cuda.sticky = 0
    with pytest.raises(BackendError, match="start the program again"):
        trt.network.run([videos(20)[0]])
    trt.close()
    for held in (box.cuda.blocks, box.cuda.pinned, box.cuda.streams, box.cuda.events):
        held.clear()  # the end of the process does so


def test_an_engine_and_a_video_beyond_it(box, tiny_path, tmp_path, localizer, videos):
    """The chunk graph of an engine is an engine, or it is an error: never the CPU."""
    engine = tmp_path / "model.engine"
    options = EngineOptions(tensorrt=TensorRtOptions(profiles=(Profile((1, 1, 1), (1, 50, 100)),)))
    build_ahead(tiny_path, engine, Device("cuda"), options)
    long = videos(250)[0]
    shutil.copy(tiny_path.with_name("tiny.chunk.onnx"), tmp_path / "model.chunk.onnx")
    missing = pytest.raises(InputError, match=r"model.chunk.engine: no such file.*co2net-engine")
    with Localizer.load(engine) as trt, missing:
        trt(long)
    with pytest.raises(InputError, match=r"model.chunk.engine: no such file"):
        Localizer.load(engine, chunk=50)
    shorter = replace(
        options, tensorrt=TensorRtOptions(profiles=(Profile((1, 1, 1), (1, 50, 60)),))
    )
    beside = tmp_path / "model.chunk.engine"
    build_ahead(tmp_path / "model.chunk.onnx", beside, Device("cuda"), shorter)
    box.executions = 0
    with Localizer.load(engine) as trt:
        same(trt.network.run([long])[0], localizer.network.run([long])[0])
        assert box.executions == 5  # of 54 snippets with 3 neighbors on either side
        assert trt.engine.engine == "tensorrt"


def test_out_of_memory_gives_advice(load, box, localizer, videos):
    trt = load()
    short, long = videos(20, 400)
    trt.network.run([short])[0]
    box.cuda.memory_bytes = sum(map(len, box.cuda.blocks.values())) + 1000
    with pytest.raises(BackendError, match=r"out of memory with 1 video of T = 400.*--profile"):
        trt.network.run([long])[0]
    same(trt.network.run([short])[0], localizer.network.run([short])[0])


def test_no_context_is_an_error(load, box, videos):
    box.fail_context = "Requested amount of GPU memory could not be allocated: OutOfMemory"
    with pytest.raises(BackendError, match=r"out of memory .*an execution context: Requested"):
        load()(videos(3)[0])


def test_no_gpu_memory_for_the_stream_is_an_error(box, tiny_path, monkeypatch):
    monkeypatch.setattr(
        box.cuda,
        "cuStreamCreate",
        lambda *_: 1,
    )
    with pytest.raises(BackendError, match=r"CUDA: invalid argument \(cuStreamCreate: 1\)"):
        Localizer.load(tiny_path, EngineOptions(backend="tensorrt"))
    assert not box.cuda.contexts


@pytest.mark.parametrize("there", [False, True])
def test_a_tensorrt_that_does_not_start_says_why(load, box, there):
    """The builder, and the runtime of an engine that is in the cache."""
    if there:
        load().close()
    box.fail_start = "CUDA initialization failure with error: 35"
    with pytest.raises(BackendError, match="does not start: CUDA initialization failure"):
        load()


def test_a_tensor_in_host_memory_is_refused(load, box):
    box.host_tensor = "lengths"
    with pytest.raises(BackendError, match="TensorRT wants lengths in host memory"):
        load()


def test_int8_of_the_wrong_kind_is_refused(box, tiny_path, tmp_path):
    path = tmp_path / "int8.onnx"
    path.write_bytes(with_precision(tiny_path.read_bytes(), b"int8-cpu"))
    for backend in ("tensorrt", "onnxruntime-tensorrt"):
        with pytest.raises(BackendError, match=r"asymmetric.*--precision int8-trt"):
            Localizer.load(path, EngineOptions(backend=backend))


def with_precision(content, precision):
    """Rewrite the contract's precision, and the two protobuf lengths around it."""
    key = METADATA_KEY.encode()
    start = content.index(b"\x0a" + bytes([len(key)]) + key + b"\x12")
    text_at = content.index(b"{", start)
    length, shift = 0, 0
    for byte in content[start + len(key) + 3 : text_at]:
        length |= (byte & 0x7F) << shift
        shift += 7
    text = content[text_at : text_at + length].replace(
        b'"precision": "fp32"', b'"precision": "%s"' % precision
    )
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + varint(len(text)) + text
    tag_at = content.rindex(b"\x72", 0, start)  # field 14, length-delimited
    return content[:tag_at] + b"\x72" + varint(len(entry)) + entry + content[text_at + length :]


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_without_the_packages(box, tiny_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"needs tensorrt.*co2net\[tensorrt\]"):
        Localizer.load(tiny_path, EngineOptions(backend="tensorrt"))


def test_stubs_alone_are_no_tensorrt(box, tiny_path, monkeypatch):
    empty = types.ModuleType("tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", empty)
    with pytest.raises(MissingDependencyError, match="needs tensorrt"):
        Localizer.load(tiny_path, EngineOptions(backend="tensorrt"))


def test_no_gpu_is_an_error(tiny_path):
    with pytest.raises(BackendError, match="the NVIDIA driver knows 0 GPUs"):
        Localizer.load(tiny_path, EngineOptions(backend="tensorrt"))


def test_auto_takes_tensorrt_where_only_that_is_installed(box, tiny_path, videos, monkeypatch):
    def missing():
        raise MissingDependencyError("onnxruntime", "cpu", "running a model")

    monkeypatch.setattr("co2net_runtime.backends.ort.module.load_onnxruntime", missing)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with Localizer.load(tiny_path) as trt:
        assert trt.engine.engine == "tensorrt"
        assert len(trt(videos(30)[0])) > 0
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"onnxruntime.*co2net\[cpu\]"):
        Localizer.load(tiny_path)


def test_an_engine_file_takes_no_build_options(box, tmp_path, tiny_path):
    with pytest.raises(InputError, match="fixed in an engine"):
        Localizer.load(tmp_path / "x.engine", EngineOptions(tf32=True))
    with pytest.raises(InputError, match="does not run in the backend onnxruntime"):
        Localizer.load(tmp_path / "x.engine", EngineOptions(backend="onnxruntime"))
