"""The study of flows: its network, its measures, and the snippet that it looks at."""

import numpy as np
import pytest
import torch
from small_i3d import small_i3d
from small_video import picture, write_video

from studies import flow_accuracy


def test_the_flow_network_sees_two_channels_as_three_of_their_mean(tmp_path):
    rgb = small_i3d(divisor=16)
    torch.save(rgb.state_dict(), tmp_path / "rgb.pt")
    network = flow_accuracy.flow_network(tmp_path / "rgb.pt")
    same = torch.rand(1, 1, 16, 224, 224)
    with torch.inference_mode():
        mine, _ = network(same.repeat(1, 2, 1, 1, 1))
        expected, _ = rgb(same.repeat(1, 3, 1, 1, 1))
    torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


def test_the_middle_snippet_and_the_frame_after_it(tmp_path):
    pytest.importorskip("cv2")
    write_video(tmp_path / "a.mp4", 37, make=lambda at, *size: picture(at, *size) // 4 + at)
    frames = flow_accuracy.middle(tmp_path / "a.mp4")
    assert len(frames) == 17
    assert frames[0].shape == (256, 341)
    levels = [frame.mean() for frame in frames]
    assert np.diff(levels) == pytest.approx(1, abs=0.5)


def test_measures():
    truth = np.zeros((2, 4, 4, 2), np.float32)
    found = truth + np.array([3, 4], np.float32)
    assert flow_accuracy.endpoint_error(found, truth) == 5
    row = np.array([1.0, 0.0], np.float32)
    assert flow_accuracy.cosine(row, row * 7) == 1
    assert flow_accuracy.cosine(row, np.array([0.0, 2.0], np.float32)) == 0
