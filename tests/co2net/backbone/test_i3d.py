import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from co2net.backbone.i3d import I3D, same_padding

GOLDEN = Path(__file__).parents[2] / "golden" / "video"
# (batch, frames, height, width)
CASES = {"b1t16": (1, 16, 224, 224), "odd": (1, 19, 229, 251)}


@pytest.fixture(scope="module")
def inputs():
    spec = importlib.util.spec_from_file_location("video_inputs", GOLDEN / "inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["rgb", "flow"])
def stream(request, inputs):
    """The stream's name and the network with the golden weights."""
    model = I3D(channels={"rgb": 3, "flow": 2}[request.param])
    state = {
        name: torch.from_numpy(np.asarray(inputs.weight(name, tuple(value.shape))))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return request.param, model.eval().requires_grad_(False)


def test_the_state_dict_has_the_published_names_and_shapes():
    listed = dict(
        line.split("\t") for line in (GOLDEN / "state_dict_flow.txt").read_text().splitlines()
    )
    with torch.device("meta"):
        state = I3D(channels=2).state_dict()
        rgb = I3D(channels=3)
    assert {name: str(tuple(value.shape)) for name, value in state.items()} == listed
    assert sum(value.numel() for value in rgb.parameters()) == 12_697_264


@pytest.mark.parametrize("case", CASES)
def test_every_end_point_equals_the_published_network(stream, case, inputs):
    name, model = stream
    batch, frames, height, width = CASES[case]
    clips = torch.from_numpy(
        inputs.clip_input(batch, model.channels, frames, height=height, width=width)
    )
    with np.load(GOLDEN / "i3d_golden.npz") as golden:
        seen = 0
        for end_point, value in model.end_points(clips):
            key = f"{name}/{case}/{end_point}"
            array = value.numpy()
            assert array.shape == tuple(golden[f"{key}/shape"])
            every = golden[f"{key}/every"]
            sampled = array.ravel()[:: int(golden[f"{key}/step"])][: every.size]
            # the order of summation, and so the last bits, depend on the number of threads
            np.testing.assert_allclose(sampled, every, rtol=0, atol=3e-5)
            seen += 1
        assert seen == 16
        features = torch.nn.functional.avg_pool3d(value, (2, 7, 7), stride=1)
        truth = golden[f"{name}/{case}/features64"]
        assert features.shape == truth.shape
        assert np.abs(features.numpy() - truth).max() <= 1.5e-5
        if case == "b1t16":
            logits = model.logits(features)[..., 0, 0].numpy()
            np.testing.assert_allclose(logits, golden[f"{name}/{case}/logits"], atol=3e-5)


def test_forward_averages_positions():
    model = I3D(channels=2, classes=3, divisor=16).eval()
    clips = torch.rand(2, 2, 19, 229, 251) * 2 - 1
    with torch.no_grad():
        features, logits = model(clips)
        positions = model.features(clips)
    assert positions.shape == (2, 64, 2, 2, 2)
    torch.testing.assert_close(features, positions.mean(dim=(2, 3, 4)))
    # the classifier is linear: the mean of the scores is the score of the mean
    torch.testing.assert_close(
        logits, model.logits(features[:, :, None, None, None])[:, :, 0, 0, 0]
    )


@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 2))
def test_same_padding_gives_every_position_its_kernel(size, kernel, stride):
    front, behind = same_padding(size, kernel, stride)
    positions = -(-size // stride)
    assert 0 <= behind - front <= 1
    assert (size + front + behind - kernel) // stride + 1 == positions or kernel < stride
    assert front + behind == max((positions - 1) * stride + kernel - size, 0)
