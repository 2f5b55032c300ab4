import cv2
import numpy as np
import pytest
from small_video import picture

from co2net_runtime.video.flow import ALGORITHMS, FlowEstimator, flow_levels, gray


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_pattern_that_moves_right_has_positive_x(algorithm):
    if algorithm.startswith("tvl1") and not hasattr(cv2, "optflow"):
        pytest.skip("no TV-L1 in this OpenCV")
    first, second = (gray(picture(2 * index)) for index in (0, 1))
    flow = FlowEstimator(algorithm)(first, second)
    assert flow.shape == (48, 64, 2)
    assert flow.dtype == np.float32
    x, y = np.median(flow[8:-8, 8:-8], axis=(0, 1))
    assert x == pytest.approx(2, abs=0.6)
    assert y == pytest.approx(0, abs=0.4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_frame_again_is_still_as_computing_it_says(algorithm):
    image = gray(picture(0))
    estimator = FlowEstimator(algorithm)
    again = estimator(image, image.copy())
    np.testing.assert_allclose(estimator(image, image), again, atol=1e-3)


def test_levels_by_hand():
    values = np.array([-99, -20, -10, 0, 0.05, 10, 20, 99], np.float32)
    assert flow_levels(values, 20.0).tolist() == [0, 0, 64, 128, 128, 191, 255, 255]


def test_results_are_not_overwritten_by_the_next_call():
    estimator = FlowEstimator("dis-fast")
    frames = [gray(picture(3 * index)) for index in range(3)]
    first = estimator(frames[0], frames[1])
    kept = first.copy()
    estimator(frames[2], frames[0])
    np.testing.assert_array_equal(first, kept)
