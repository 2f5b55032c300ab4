"""Resizing without antialiasing, as OpenCV's INTER_LINEAR does on 8 bits, and the center crop."""

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.video.decode import Image

# fractions of OpenCV's weights: 11 bits
_ONE = 2048


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return (height, width) with the shorter side `short_side`; the longer is rounded down."""
    if height <= width:
        return short_side, max(short_side, int(width * short_side / height))
    return max(short_side, int(height * short_side / width)), short_side


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Return the image (H, W, ...) resized bilinearly to `size` = (height, width), uint8.

    By OpenCV where it is installed, else by numpy with the same weights; the two differ by at
    most one level.
    """
    if image.shape[:2] == size:
        return image
    cv2 = find_cv2()
    if cv2 is None:
        return resize_numpy(image, size)
    resized: Image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized


def resize_numpy(image: Image, size: tuple[int, int]) -> Image:
    """Resize as `resize` does, in numpy alone."""
    top, bottom, down = _taps(image.shape[0], size[0])
    left, right, across = _taps(image.shape[1], size[1])
    across = across.reshape(-1, *[1] * (image.ndim - 2))
    down = down.reshape(-1, *[1] * (image.ndim - 1))

    def row(index: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        lines = image[index]
        wide: npt.NDArray[np.int32] = lines[:, left] * (_ONE - across) + lines[:, right] * across
        return wide

    blended = row(top) * (_ONE - down) + row(bottom) * down
    return ((blended + (_ONE * _ONE >> 1)) >> 22).astype(np.uint8)


def center_crop(image: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Return the center (side, side, ...) of an image (H, W, ...), a view."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


@lru_cache(maxsize=1)
def find_cv2() -> ModuleType | None:
    """Return OpenCV, computing in the calling thread alone; None where it is not installed.

    The threads of this package fill the cores; a pool of OpenCV's own would only get in their way.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        return None
    cv2.setNumThreads(1)
    return cv2


def load_cv2(purpose: str) -> ModuleType:
    """Return OpenCV. Raises MissingDependencyError where it is not installed."""
    cv2 = find_cv2()
    if cv2 is None:
        raise MissingDependencyError("opencv-contrib-python-headless", "video", purpose)
    return cv2


@lru_cache(maxsize=16)
def _taps(
    source: int, target: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Return for each target pixel its two source pixels, and the weight of the second."""
    place = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(place).astype(np.intp)
    weight = np.rint((place - first) * _ONE).astype(np.int32)
    weight[(first < 0) | (first >= source - 1)] = 0
    first = first.clip(0, source - 1)
    return first, np.minimum(first + 1, source - 1), weight
