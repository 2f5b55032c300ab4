import cv2
import numpy as np
import pytest

from co2net_runtime.video.resize import center_crop, resize_numpy, resized_size


@pytest.mark.parametrize(
    ("source", "target"),
    [((360, 480), (256, 341)), ((480, 360), (341, 256)), ((1080, 1920), (256, 455)),
     ((256, 340), (256, 340)), ((16, 16), (256, 256)), ((101, 77), (335, 256))],
)  # fmt: skip
def test_short_side_with_the_long_side_rounded_down(source, target):
    assert resized_size(*source, 256) == target


@pytest.mark.parametrize("size", [(36, 48), (108, 192), (10, 7), (1, 1), (25, 34)])
@pytest.mark.parametrize("channels", [(3,), ()])
def test_numpy_resizes_as_opencv_does(size, channels):
    image = np.random.default_rng(0).integers(0, 256, (*size, *channels), dtype=np.uint8)
    target = resized_size(*size, 26)
    expected = cv2.resize(image, target[::-1], interpolation=cv2.INTER_LINEAR)
    found = resize_numpy(image, target)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_center_crop():
    image = np.arange(5 * 7).reshape(5, 7)
    np.testing.assert_array_equal(center_crop(image, 3), image[1:4, 2:5])
    np.testing.assert_array_equal(center_crop(image, 4), image[:4, 1:5])
