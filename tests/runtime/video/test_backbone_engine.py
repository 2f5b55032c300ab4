"""A backbone in TensorRT, against the stand-in: profiles over the number of clips."""

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.cli import engine as engine_cli
from co2net_runtime.errors import BackendError, ContractError
from co2net_runtime.localizer import Localizer
from co2net_runtime.video.backbone import Backbone


def clips(backbone, count):
    channels, frames, *side = backbone.contract.clip_shape
    shape = (count, frames, *side, channels)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_equals_onnx_runtime(box, rgb_path, cuda_graphs):
    options = TensorRtOptions(cuda_graphs=cuda_graphs)
    with (
        Backbone.open(rgb_path, "rgb", EngineOptions(backend="tensorrt", tensorrt=options)) as trt,
        Backbone.open(rgb_path, "rgb", EngineOptions(backend="onnxruntime", device="cpu")) as ort,
    ):
        assert trt.engine.device == "cuda:0"
        for count in (8, 1, 3, 8):
            levels = clips(ort, count)
            np.testing.assert_allclose(trt.features(levels), ort.features(levels), rtol=1e-4)
        assert trt.batch == 8
    assert len(box.builds) == 1
    assert not box.cuda.blocks


def test_the_batch_keeps_to_the_profile(box, rgb_path):
    options = TensorRtOptions(profiles=(Profile((1, 2, 4), (1, 256, 512)),))
    with Backbone.open(
        rgb_path, "rgb", EngineOptions(backend="tensorrt", tensorrt=options)
    ) as backbone:
        assert backbone.batch == 4
        with pytest.raises(BackendError, match=r"1x1:2x1:4x1"):
            backbone.features(clips(backbone, 5))


def test_engines_are_built_ahead(box, rgb_path, tmp_path):
    done = CliRunner().invoke(engine_cli.main, [str(rgb_path), "--profile", "1x1:4x1:8x1"])
    assert done.exit_code == 0, done.stderr
    build = TensorRtOptions(profiles=(Profile((1, 4, 8), (1, 1, 1)),))
    options = EngineOptions(backend="tensorrt", tensorrt=build)
    Backbone.open(rgb_path, "rgb", options).close()
    assert len(box.builds) == 1
    out = tmp_path / "rgb.engine"
    done = CliRunner().invoke(engine_cli.main, [str(rgb_path), "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    with pytest.raises(ContractError, match="the engine of a backbone: give its ONNX file"):
        Localizer.load(out)


def test_onnxruntimes_tensorrt_is_refused(box, rgb_path):
    with pytest.raises(BackendError, match="use --backend tensorrt for this file"):
        Backbone.open(rgb_path, "rgb", EngineOptions(backend="onnxruntime-tensorrt"))
