"""The builder gets: precision by the file alone, profiles, options."""

import pytest

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends.trt.build import build_engine
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
    config = config_of(hardware_compatible=True, version_compatible=True, workspace_mib=3)
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert names(config) == {"VERSION_COMPATIBLE"}
    assert {pool.name: size for pool, size in config.pools.items()} == {"WORKSPACE": 3 << 20}
    box.dla_cores = 2
    config = config_of(profiles=ONE_SHAPE, dla_core=1)
    assert (config.default_device_type.name, config.DLA_core) == ("DLA", 1)
    assert names(config) == {"GPU_FALLBACK"}


def test_a_dla_that_is_not_there(config_of):
    with pytest.raises(BackendError, match="DLA core 0 was asked for, but this machine has 0"):
        config_of(profiles=ONE_SHAPE, dla_core=0)


def test_a_model_that_tensorrt_cannot_read(box, tiny_path, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_path.read_bytes()[:-9])
    with pytest.raises(BackendError, match="TensorRT cannot read the model: In node 0"):
        build_engine(path, read_contract(tiny_path), TensorRtOptions())


def test_a_build_that_fails(config_of, box):
    box.fail_build = "Could not find any implementation for node fusion.0"
    with pytest.raises(BackendError, match=r"cannot build the engine: .*node fusion.0"):
        config_of()
