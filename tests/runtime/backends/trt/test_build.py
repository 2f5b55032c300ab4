"""The builder gets: precision by the file alone, profiles, options."""

import pytest

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.backends.trt.build import build_engine
from co2net_runtime.backends.trt.layers import summary
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.errors import BackendError

ONE_SHAPE = (Profile((1, 1, 1), (64, 64, 64)),)


@pytest.fixture
def config_of(box, tiny_path):
    """Build the tiny model and return what the builder got."""

    def build(*, tf32=False, **options):
        wanted = TensorRtOptions(**options)
        build_engine(tiny_path, read_contract(tiny_path), wanted, tf32=tf32)
        network, config = box.builds[-1]
        assert network.strongly_typed
        return config

    return build


def names(config):
    return {flag.name for flag in config.flags}


def test_fp32_is_fp32(config_of):
    """TensorRT's default, TF32, would compute an fp32 file in 10 bits."""
    assert names(config_of()) == set()
    assert names(config_of(tf32=True)) == {"TF32"}


def test_profiles_have_the_shapes_of_all_inputs(config_of):
    config = config_of(profiles=(Profile((1, 2, 4), (1, 50, 90)), *ONE_SHAPE))
    assert [profile.shapes for profile in config.profiles] == [
        {
            "features": [[1, 1, 16], [2, 50, 16], [4, 90, 16]],
            "lengths": [[1], [2], [4]],
        },
        {"features": [[1, 64, 16]] * 3, "lengths": [[1]] * 3},
    ]


def test_options(config_of, box):
    assert config_of().hardware_compatibility_level.name == "NONE"
    config = config_of(
        hardware_compatible=True, version_compatible=True, workspace_mib=3, optimization_level=2
    )
    assert config.builder_optimization_level == 2
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert names(config) == {"VERSION_COMPATIBLE"}
    assert {pool.name: size for pool, size in config.pools.items()} == {"WORKSPACE": 3 << 20}


def test_a_model_that_tensorrt_cannot_read(box, tiny_path, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_path.read_bytes()[:-9])
    with pytest.raises(BackendError, match=r"TensorRT refuses the model .*model.onnx: In node 0"):
        build_engine(path, read_contract(tiny_path), TensorRtOptions())


def test_a_build_that_fails(config_of, box):
    box.fail_build = "Could not find any implementation for node fusion.0"
    with pytest.raises(BackendError, match=r"refuses to build .*tiny.onnx: .*node fusion.0"):
        config_of()


def test_a_model_rewritten_for_cpus_is_none_for_tensorrt(box, tiny_path):
    """CumSum of integers, NonZero of booleans: its parser has neither."""
    path = tiny_path.with_name("tiny_cpu.onnx")
    with pytest.raises(BackendError, match="unsupported datatype"):
        build_engine(path, read_contract(path), TensorRtOptions())
    for backend in ("tensorrt", "onnxruntime-tensorrt"):
        with pytest.raises(BackendError, match="export without --optimize cpu"):
            open_backend(path, EngineOptions(backend=backend))


@pytest.mark.parametrize("name", ["tiny", "tiny.fp16", "tiny.int8-trt", "tiny_pool", "tiny.chunk"])
def test_the_parser_of_jetpack_6_takes_the_files_for_it(box, tiny_path, name):
    box.tensorrt = "10.3.0"
    path = tiny_path.with_name(f"{name}.onnx")
    build_engine(path, read_contract(path), TensorRtOptions())


def test_which_layer_runs_in_which_type(box, tiny_path):
    path = tiny_path.with_name("tiny.int8-trt.onnx")
    built = build_engine(path, read_contract(path), TensorRtOptions())
    assert built.layers["fusion.0"] == {
        "kind": "CaskConvolution",
        "reads": "int8",
        "writes": "fp16",
    }
    assert built.layers["classifier.4"]["reads"] == "fp32"
    assert summary(built.layers) == "6 layers read fp16, 4 int8, 3 fp32"
    assert summary({}) == ""


@pytest.mark.parametrize("said", ["", "no JSON", '{"Layers": ["a name"]}', '{"layers": []}'])
def test_an_inspector_that_is_not_understood_costs_the_report_alone(box, tiny_path, caplog, said):
    caplog.set_level("INFO", logger="co2net_runtime")
    box.inspector = said
    built = build_engine(tiny_path, read_contract(tiny_path), TensorRtOptions())
    assert built.engine
    assert not built.layers
    assert "the engine's layers cannot be told" in caplog.text


@pytest.mark.parametrize("content", [b"cut off", b"timing of another GPU"])
def test_a_useless_timing_cache_is_left_aside(box, tiny_path, caplog, content):
    """The bindings give None for what is no timing cache."""
    caplog.set_level("INFO", logger="co2net_runtime")
    contract = read_contract(tiny_path)
    built = build_engine(tiny_path, contract, TensorRtOptions(), timing_cache=content)
    assert built.timing_cache.startswith(box.timing_header())
    assert "the timing cache: it gives no reason: starting a new one" in caplog.text


def test_a_profile_that_is_refused(config_of, box):
    box.fail_profile = "too large"
    with pytest.raises(BackendError, match="refuses the profile 1x64:1x64:1x64"):
        config_of(profiles=ONE_SHAPE)


def test_no_hardware_compatible_engine_on_a_jetson(box, tiny_path, monkeypatch):
    monkeypatch.setattr("co2net_runtime.backends.trt.cache.is_tegra", lambda: True)
    options = EngineOptions(backend="tensorrt", tensorrt=TensorRtOptions(hardware_compatible=True))
    with pytest.raises(BackendError, match="no hardware-compatible engines on a Jetson"):
        open_backend(tiny_path, options)
