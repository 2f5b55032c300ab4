"""Features to measure on: planted ones of any length, or a user's own."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from co2net.data.dataset import open_dataset
from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import Features, check_features

_ENOUGH = 8192


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
    """Gives features of any length: cut from the user's videos, or planted."""

    def __init__(
        self, feature_dim: int, path: str | os.PathLike[str] | None = None, *, seed: int = 0
    ) -> None:
        """Prepare. path: a feature file, a folder of them or a dataset, None for planted.

        Raises InputError if the path holds no usable features of this width.
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
