"""ONNX Runtime: the provider that was asked for runs the network, or it is an error."""

import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions, selection, tf32
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.ort import backend as ort
from co2net_runtime.backends.ort import module
from co2net_runtime.backends.ort import providers as ort_providers
from co2net_runtime.backends.ort import trt_provider as ort_tensorrt
from co2net_runtime.backends.ort.backend import OnnxRuntimeBackend
from co2net_runtime.backends.ort.bound import BoundSession
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError
from co2net_runtime.localizer import Localizer

# the options that ONNX Runtime 1.31's TensorRT provider knows
TRT_OPTIONS = {
    "trt_auxiliary_streams",
    "trt_bf16_enable",
    "trt_build_heuristics_enable",
    "trt_cuda_graph_enable",
    "trt_builder_optimization_level",
    "trt_context_memory_sharing_enable",
    "trt_detailed_build_log",
    "trt_dla_core",
    "trt_dla_enable",
    "trt_dump_ep_context_model",
    "trt_dump_subgraphs",
    "trt_fp16_enable",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_engine_hw_compatible",
    "trt_int8_enable",
    "trt_max_workspace_size",
    "trt_profile_max_shapes",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "device_id",
}


# Of the CUDA provider: what each option does, and the value that is wanted. The names are among the
# strings of ONNX Runtime 1.31's provider; the meanings are from its sources and documentation.
CUDA_OPTIONS: dict[str, tuple[str, object]] = {
    "device_id": ("which GPU", "0"),
    "cudnn_conv_algo_search": (
        "EXHAUSTIVE, the default, tries all for each new shape; DEFAULT is the slow fallback",
        "HEURISTIC",
    ),
    "use_tf32": (
        "0 keeps all tensor cores from convolutions of any type, not only from fp32's (conv.cc)",
        {"fp32": "0", "fp16": "1"},
    ),
    "cudnn_conv1d_pad_to_nc1d": ("a Conv1d becomes (N, C, 1, T), by default (N, C, T, 1)", "1"),
    "fuse_conv_bias": ("cuDNN adds the bias in the convolution's kernel; from 1.20 on", "1"),
    "prefer_nhwc": (
        "channels last, the layout of tensor cores; fp32 does without them here",
        {"fp32": "0", "fp16": "1"},
    ),
    "arena_extend_strategy": ("kNextPowerOfTwo, the default, doubles", "kSameAsRequested"),
}


@pytest.fixture
def feeds(videos):
    batch = np.stack([np.pad(v, ((0, 9 - len(v)), (0, 0))) for v in videos(9, 4)])
    return {"features": batch, "lengths": np.array([9, 4])}


CUDA = ort_providers.cuda(Device("cuda"), EngineOptions(), "fp32")
ORT = EngineOptions(backend="onnxruntime", device="cpu")


def test_says_what_runs(tiny_path):
    with open_backend(tiny_path, ORT) as backend:
        assert str(backend.info).endswith("CPUExecutionProvider, fp32 on cpu")
        assert backend.max_batch(10_000) is None


def test_bound_memory_gives_the_same(tiny_path, feeds):
    """The way of GPUs, on the CPU's memory."""
    plain = open_backend(tiny_path)
    cpu = Device("cpu")
    bound = OnnxRuntimeBackend(
        tiny_path,
        read_contract(tiny_path),
        provider=ort_providers.Provider(
            ort_providers.CPU, cpu, ((ort_providers.CPU, {}),), bind=True
        ),
    )
    # the same shape again, whose memory is used again, with other numbers, and another one
    again = {**feeds, "features": feeds["features"][::-1] + 1, "lengths": np.array([3, 9])}
    for given in (feeds, again, {name: array[:1] for name, array in feeds.items()}):
        expected, found = plain.infer(given), bound.infer(given)
        assert set(found) == {"cas", "attention"}
        for name, array in found.items():
            np.testing.assert_allclose(array, expected[name], atol=1e-6)


def test_bound_memory_is_used_again(tiny_path, feeds, monkeypatch):
    import onnxruntime

    made = []
    new = onnxruntime.OrtValue.ortvalue_from_numpy
    value = types.SimpleNamespace(
        ortvalue_from_numpy=lambda array, *place: made.append(array.shape) or new(array, *place)
    )
    session = onnxruntime.InferenceSession(tiny_path, providers=["CPUExecutionProvider"])
    bound = BoundSession(types.SimpleNamespace(OrtValue=value), session, Device("cpu"))
    for _ in range(3):
        bound.run(["cas"], feeds)
    assert made == [(2, 9, 16), (2,)]


def test_options_reach_the_session(tiny_path, feeds):
    backend = open_backend(
        tiny_path,
        replace(ORT, threads=1, spinning=True, memory_arena=False),
    )
    options = backend._session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert not options.enable_cpu_mem_arena
    edge = open_backend(tiny_path, ORT)._session.get_session_options()
    assert edge.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert edge.enable_cpu_mem_arena


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "cuda:0"}, "CUDAExecutionProvider was asked for, but this onnxruntime"),
        ({"backend": "onnxruntime-tensorrt"}, r"TensorrtExecutionProvider.*co2net\[gpu\]"),
    ],
)
def test_a_provider_that_is_not_in_the_wheel(box, tiny_path, options, text):
    import onnxruntime

    name = text.partition(" ")[0].partition(".")[0]
    if any(name.startswith(p) for p in onnxruntime.get_available_providers()):
        pytest.skip("this onnxruntime has it")
    with pytest.raises(BackendError, match=text):
        Localizer.load(tiny_path, EngineOptions(**options))


class Session:
    """A session whose providers and places are not those that were asked for."""

    def __init__(self, used, places, tmp_path):
        self._used = used
        self._places = places
        self._path = tmp_path / "profile.json"

    def get_providers(self):
        return self._used

    def get_inputs(self):
        features = types.SimpleNamespace(
            name="features", shape=["batch", "time", 16], type="tensor(float)"
        )
        lengths = types.SimpleNamespace(name="lengths", shape=["batch"], type="tensor(int64)")
        return [features, lengths]

    def run(self, _names, feeds):
        self.placed = {name: array.shape for name, array in feeds.items()}

    def end_profiling(self):
        import json

        events = [
            {"cat": "Node", "args": {"op_name": name, "provider": place}}
            for name, place in self._places
        ]
        self._path.write_text(json.dumps([{"cat": "Session", "args": {}}, *events]))
        return str(self._path)


@pytest.fixture
def pretend(monkeypatch, tmp_path, tiny_path):
    """Open the tiny model with a provider in an onnxruntime that does as told."""

    def open_(provider, used, places=()):
        import onnxruntime

        fake = types.SimpleNamespace(
            **{
                name: getattr(onnxruntime, name)
                for name in ("SessionOptions", "OrtValue", "set_default_logger_severity")
            },
            __version__="1.99",
            __file__=str(tmp_path / "__init__.py"),
            get_available_providers=lambda: [provider.name],
            InferenceSession=lambda *_, **__: Session(used, places, tmp_path),
        )
        monkeypatch.setattr(ort, "load_onnxruntime", lambda: fake)
        return OnnxRuntimeBackend(tiny_path, read_contract(tiny_path), provider=provider)

    return open_


def test_a_provider_that_did_not_start_is_an_error(pretend):
    """ONNX Runtime itself would go on, on the CPU."""
    with pytest.raises(
        BackendError, match="CUDAExecutionProvider was asked for, but did not start"
    ):
        pretend(CUDA, ["CPUExecutionProvider"])


def test_heavy_operators_elsewhere_are_an_error(pretend, box):
    used = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    for heavy in ("FusedConv", "AveragePool"):
        places = [(heavy, used[1]), ("Conv", used[0]), ("Shape", used[1])]
        with pytest.raises(BackendError, match=f"runs {heavy} on CPUExecutionProvider"):
            pretend(CUDA, used, places)


def test_bookkeeping_elsewhere_is_fine(pretend, box):
    used = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    places = [("Conv", used[0]), ("Shape", used[1]), ("Range", used[1]), ("MemcpyToHost", used[0])]
    backend = pretend(CUDA, used, places)
    assert backend.layers == "2 small operators elsewhere, 1 copies to and from the host"
    assert str(backend.info) == (
        "onnxruntime 1.99, CUDAExecutionProvider, fp32 on cuda:0 (Stand-in GPU)"
    )


def test_cuda_options():
    fp32 = ort_providers.cuda(Device("cuda", 1), EngineOptions(), "fp32")
    ((name, options),) = fp32.entries
    assert name == "CUDAExecutionProvider"
    assert options["device_id"] == "1"
    assert options["use_tf32"] == "0"
    assert fp32.buckets
    assert set(options) == set(CUDA_OPTIONS)
    allowed = ort_providers.cuda(Device("cuda"), EngineOptions(tf32=True), "fp32")
    assert allowed.entries[0][1]["use_tf32"] == "1"


def test_each_option_has_the_value_that_its_meaning_asks_for():
    """Against the recorded table: made-up sessions notice no option that means something else."""
    for precision in ("fp32", "fp16"):
        options = dict(ort_providers.cuda(Device("cuda"), EngineOptions(), precision).entries)
        for name, (_, wanted) in CUDA_OPTIONS.items():
            value = wanted.get(precision) if isinstance(wanted, dict) else wanted
            assert options["CUDAExecutionProvider"][name] == value, (name, precision)


def test_int8_never_computes_in_float_on_a_gpu(box, tiny_path, monkeypatch):
    """ONNX Runtime would convert to float and back around each layer, slower than fp32."""
    for name in ("tiny.int8-cpu", "tiny.int8-trt"):
        path = tiny_path.with_name(f"{name}.onnx")
        with pytest.raises(BackendError, match="multiplies int8 on CPUs only"):
            open_backend(path, EngineOptions(backend="onnxruntime", device="cuda:0"))
    with monkeypatch.context() as patch:
        patch.setattr(selection, "_onnxruntime_has_cuda", lambda: True)
        with open_backend(path, EngineOptions(backend="onnxruntime")) as by_itself:
            assert by_itself.info.device == "cpu"
        with open_backend(path) as fastest:
            assert fastest.info.engine == "tensorrt"


@pytest.mark.parametrize("precision", ["fp16", "int8-trt"])
def test_fp16_keeps_the_tensor_cores(precision):
    """With use_tf32=0 ONNX Runtime asks cuDNN for plans without them, whatever the type."""
    for provider in (
        ort_providers.cuda(Device("cuda"), EngineOptions(), precision),
        ort_providers.tensorrt(Device("cuda"), EngineOptions(), {}, precision),
    ):
        assert dict(provider.entries)["CUDAExecutionProvider"]["use_tf32"] == "1"


def test_the_tensorrt_provider_takes_what_its_profile_takes(pretend, box):
    profile = Profile((1, 1, 4), (1, 50, 90))
    provider = ort_providers.tensorrt(
        Device("cuda"), EngineOptions(tensorrt=TensorRtOptions(profiles=(profile,))), {}, "fp32"
    )
    backend = pretend(provider, ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    assert (backend.max_length, backend.max_batch(90)) == (90, 4)
    with pytest.raises(BackendError, match="T = 91 at once are beyond the engine's profiles"):
        backend.max_batch(91)


def test_placement_is_looked_at_within_the_profile(pretend, box):
    """ONNX Runtime stays on profile 0 whatever comes (onnxruntime issue 31624)."""
    options = EngineOptions(
        tensorrt=TensorRtOptions(profiles=(Profile((4, 8, 8), (64, 256, 512)),))
    )
    provider = ort_providers.tensorrt(Device("cuda"), options, {}, "fp32")
    backend = pretend(provider, ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    assert backend._session._session.placed == {"features": (4, 64, 16), "lengths": (4,)}


@pytest.mark.parametrize("name", ["tiny.fp16", "tiny.int8-trt"])
def test_the_file_alone_decides_the_precision(box, tiny_path, name):
    """trt_fp16_enable or trt_int8_enable would switch strong typing off."""
    path = tiny_path.with_name(f"{name}.onnx")
    strings = ort_tensorrt.provider_options(path, Device("cuda"), EngineOptions())
    assert not [one for one in strings if one in ("trt_fp16_enable", "trt_int8_enable")]


@pytest.fixture
def no_tf32_yet(monkeypatch):
    monkeypatch.setattr(tf32, "_settled", None)
    monkeypatch.setenv(tf32.VARIABLE, "1")


def test_fp32_is_fp32_in_onnxruntimes_tensorrt(pretend, box, no_tf32_yet):
    """Its only switch is the environment, before NVIDIA's libraries start."""
    provider = ort_providers.tensorrt(Device("cuda"), EngineOptions(), {}, "fp32")
    pretend(provider, ["TensorrtExecutionProvider", "CPUExecutionProvider"])
    assert os.environ[tf32.VARIABLE] == "0"
    with pytest.raises(BackendError, match="cannot compute in TF32, it began without"):
        tf32.settle(True)


def test_a_process_that_began_with_tf32(no_tf32_yet):
    tf32.settle(True)
    assert os.environ[tf32.VARIABLE] == "1"
    tf32.settle(False)  # the CUDA provider has an option of its own
    with pytest.raises(BackendError, match="fp32 needs another one"):
        tf32.settle(False, by_environment=True)


def test_tf32_that_the_environment_forbids(no_tf32_yet, monkeypatch):
    monkeypatch.setenv(tf32.VARIABLE, "0")
    with pytest.raises(BackendError, match="NVIDIA_TF32_OVERRIDE=0 is in the environment"):
        tf32.settle(True)


def test_a_model_rewritten_for_cpus_takes_its_plain_form_elsewhere(box, tiny_path, feeds):
    path = tiny_path.with_name("tiny_cpu.onnx")
    contract = read_contract(path)
    cpu = ort_providers.Provider(
        ort_providers.CPU, Device("cpu"), ((ort_providers.CPU, {}),), bind=True
    )
    feeds = {name: np.repeat(array, 20, axis=0) for name, array in feeds.items()}
    with OnnxRuntimeBackend(path, contract, provider=cpu) as gpu_way:
        found = gpu_way.infer(feeds)
        plain = open_backend(path, replace(ORT, cpu_form="plain"))
        np.testing.assert_array_equal(found["cas"], plain.infer(feeds)["cas"])
    assert gpu_way._never.numpy() > 2**61


def test_tensorrt_provider_options(box, tiny_path, tmp_path):
    build = TensorRtOptions(
        profiles=(Profile((1, 1, 8), (1, 50, 100)), Profile((1, 1, 1), (1, 200, 400))),
        hardware_compatible=True,
        workspace_mib=2,
    )
    options = EngineOptions(tensorrt=build)
    strings = ort_tensorrt.provider_options(tiny_path, Device("cuda"), options)
    assert strings["trt_profile_min_shapes"] == "features:1x1x16,lengths:1"
    assert strings["trt_profile_opt_shapes"] == "features:1x50x16,lengths:1"
    assert strings["trt_profile_max_shapes"] == "features:2x400x16,lengths:2"
    assert strings["trt_engine_hw_compatible"] == "1"
    assert strings["trt_max_workspace_size"] == str(2 << 20)
    assert "trt_fp16_enable" not in strings
    folder = strings["trt_engine_cache_path"]
    assert folder == strings["trt_timing_cache_path"]
    assert folder.startswith(str(tmp_path / "cache"))
    assert "stand-in-gpu-sm87" in folder
    assert set(strings) <= TRT_OPTIONS
    assert all(isinstance(value, str) for value in strings.values())
    box.gpu_name = "Another GPU"
    other = ort_tensorrt.provider_options(tiny_path, Device("cuda"), options)
    assert other["trt_engine_cache_path"] != folder


def test_tensorrt_provider_without_a_cache(box, tiny_path, tmp_path, caplog):
    (tmp_path / "cache").touch()
    strings = ort_tensorrt.provider_options(tiny_path, Device("cuda"), EngineOptions())
    assert "trt_engine_cache_path" not in strings
    assert "built again at each start" in caplog.text


@pytest.mark.parametrize("name", ["cuda_graphs", "version_compatible"])
def test_options_that_only_the_native_backend_has(box, tiny_path, name):
    with pytest.raises(InputError, match=f"{name} needs the backend tensorrt"):
        Localizer.load(
            tiny_path,
            EngineOptions(backend="onnxruntime-tensorrt", tensorrt=TensorRtOptions(**{name: True})),
        )


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-tensorrt"])
def test_the_gpu_wheel_without_a_gpu_does_not_fall_back(box, tiny_path, backend, capfd):
    """ONNX Runtime itself prints on stdout and runs on the CPU."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is not made for GPUs")
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=r"was asked for, but did not start: lib.*\.so"):
        Localizer.load(tiny_path, EngineOptions(backend=backend, device="cuda:0"))
    assert capfd.readouterr().out == ""


def test_auto_takes_the_cpu_wheel_as_it_is(box, tiny_path):
    """A GPU in the box and an onnxruntime for CPUs: the CPU, and it says so."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is made for GPUs")
    with Localizer.load(tiny_path) as localizer:
        assert localizer.engine.device == "cpu"


def test_auto_takes_the_gpu_where_the_wheel_can(box, monkeypatch):
    fake = types.SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(module, "load_onnxruntime", lambda: fake)
    assert selection.choose_device("onnxruntime", "auto") == Device("cuda")


def test_an_incomplete_onnxruntime(tiny_path, monkeypatch):
    """Two wheels share its folder; uninstalling one leaves a torso."""
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    with pytest.raises(BackendError, match="installed but incomplete: co2net-doctor"):
        open_backend(tiny_path, ORT)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"co2net\[cpu\]"):
        open_backend(tiny_path, ORT)
