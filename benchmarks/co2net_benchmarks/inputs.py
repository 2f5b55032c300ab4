"""Features to measure on: planted ones of any length, or a user's own; and real lengths."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from co2net.data.dataset import open_dataset
from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import Features, check_features

# rows of a user's features: more than any length that is measured
_ENOUGH = 8192

# the 212 test videos of THUMOS14 in dataset order: round(seconds * 25 / 16), snippets of 0.64 s
_THUMOS14_TEST = (
    53, 105, 754, 124, 325, 228, 355, 368, 278, 181, 178, 24, 155, 345, 135, 300, 204, 299, 264,
    842, 154, 384, 161, 74, 331, 328, 275, 201, 336, 302, 119, 365, 378, 217, 233, 113, 1009,
    198, 348, 459, 190, 1326, 173, 287, 324, 67, 327, 239, 216, 320, 242, 455, 246, 157, 45,
    194, 1110, 114, 372, 285, 46, 112, 106, 314, 78, 138, 257, 52, 88, 675, 325, 279, 323, 511,
    321, 187, 399, 49, 134, 539, 183, 64, 266, 203, 277, 27, 101, 281, 1048, 64, 354, 227, 166,
    231, 643, 56, 208, 183, 121, 349, 137, 153, 2615, 199, 170, 249, 283, 598, 265, 43, 369,
    355, 306, 55, 388, 604, 354, 188, 493, 146, 44, 2055, 99, 44, 289, 302, 129, 156, 189, 367,
    277, 1509, 431, 238, 445, 331, 101, 152, 767, 108, 183, 260, 76, 110, 401, 283, 106, 287,
    75, 340, 201, 943, 189, 158, 1323, 172, 366, 187, 202, 1406, 645, 72, 1725, 549, 240, 181,
    376, 1313, 146, 1974, 387, 197, 148, 414, 97, 110, 320, 133, 272, 539, 87, 256, 274, 244,
    650, 343, 901, 221, 485, 270, 560, 31, 446, 359, 114, 1273, 46, 167, 289, 65, 320, 826, 236,
    292, 83, 73, 332, 339, 373, 180, 161, 223,
)  # fmt: skip

LENGTH_MIXES: Mapping[str, tuple[int, ...]] = MappingProxyType({"thumos14": _THUMOS14_TEST})
"""Snippets of each video, by the name of the mix."""


def planted_features(length: int, feature_dim: int, *, seed: int = 0) -> Features:
    """Return features (length, feature_dim) float32, non-negative, deterministic in the seed.

    Noise, with a pattern added over a few stretches of snippets, so that the outputs rise and
    fall as over actions and the decoder has work to do.
    """
    rng = np.random.default_rng([seed, length, feature_dim])
    features: Features = np.abs(0.5 * rng.standard_normal((length, feature_dim), dtype=np.float32))
    pattern = np.maximum(rng.standard_normal(feature_dim, dtype=np.float32), 0)
    start = 0
    while start < length:
        start += int(rng.integers(5, 40))
        stop = start + int(rng.integers(3, 20))
        features[start:stop] += pattern * np.float32(rng.uniform(0.3, 1.2))
        start = stop
    return features


def is_dataset(path: Path) -> bool:
    """Whether a folder holds annotations besides features: a JSON file or a bundle's folder."""
    return path.is_dir() and (any(path.glob("*.json")) or any(path.glob("*-Annotations")))


class FeatureSource:
    """Makes features of any length: cut from the user's videos, or planted."""

    def __init__(
        self, feature_dim: int, path: str | os.PathLike[str] | None = None, *, seed: int = 0
    ) -> None:
        """Read a user's features, if a path is given: a file, a folder of them or a dataset.

        seed: of planted features. Raises InputError for a path without features of this width.
        """
        self._dim, self._seed = feature_dim, seed
        self._own: Features | None = None
        if path is not None:
            # enough rows for every length that is measured, without reading a whole data set
            rows, parts = 0, []
            for features in _videos(Path(path), feature_dim):
                parts.append(features)
                rows += len(features)
                if rows >= _ENOUGH:
                    break
            self._own = np.concatenate(parts)

    def features(self, length: int, index: int = 0) -> Features:
        """Return features (length, D) float32; `index` tells videos of equal length apart.

        The user's videos are joined end to end and repeated where they do not suffice.
        """
        if length < 1:
            raise InputError(f"a length must be at least 1 snippet, got {length}")
        if self._own is None:
            return planted_features(length, self._dim, seed=self._seed + index)
        rows = (np.arange(length) + 997 * index) % len(self._own)
        return np.ascontiguousarray(self._own[rows])

    def write(self, folder: Path, lengths: Iterable[int]) -> list[Path]:
        """Write one .npy file a video, in the order of `lengths`, and return the paths."""
        paths = []
        for index, length in enumerate(lengths):
            path = folder / f"{index:04d}_{length}.npy"
            np.save(path, self.features(length, index))
            paths.append(path)
        return paths


def _videos(path: Path, feature_dim: int) -> Iterator[Features]:
    if is_dataset(path):
        dataset = open_dataset(path, check=False)
        for video in dataset.videos(dataset.test_subset):
            features = dataset.load_features(video.name)
            yield check_features(features, dataset.where(video.name), feature_dim)
    else:
        for file in find_feature_files([path]):
            yield file.read(feature_dim)
