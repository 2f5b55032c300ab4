"""Lengths that videos are padded to, so that a GPU engine sees few shapes.

ONNX Runtime's CUDA provider plans every convolution again when T changes, and a recorded launch
serves one shape only. The graph masks what lies beyond `lengths`, so padding changes no result.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.backends import Arrays

# (up to this T, in steps of)
FINE, COARSE = (512, 64), 256


def bucket(length: int) -> int:
    """Return the T that videos of T = `length` are padded to: 64, 128, ... 512, 768, 1024, ..."""
    step = FINE[1] if length <= FINE[0] else COARSE
    return -(-length // step) * step


def pad_time(feeds: Arrays, length: int) -> dict[str, npt.NDArray[Any]]:
    """Return a batch whose features (B, T, D) are followed by zeros up to T = `length`."""
    features = feeds["features"]
    if features.shape[1] == length:
        return dict(feeds)
    padded = np.zeros((len(features), length, features.shape[2]), features.dtype)
    padded[:, : features.shape[1]] = features
    return {**feeds, "features": padded}
