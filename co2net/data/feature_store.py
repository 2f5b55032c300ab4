"""Where the features of a dataset are, and how those of one video are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import find_feature_files, pair_streams
from co2net_runtime.features import Array, FeatureFile, as_rows, check_rows, common_length
from co2net_runtime.files.text import normalized

# ActivityNet's files have this prefix, its annotations do not
FILE_PREFIX = "v_"


@dataclass(frozen=True)
class Header:
    """The shape of one video's features."""

    length: int  # snippets T
    widths: tuple[int, ...]  # (D,), or the channels of RGB and of flow where they are kept apart
    cut: int = 0  # snippets by which the longer of the two streams exceeds T


class FeatureStore(Protocol):
    """Features by video name."""

    def __contains__(self, name: str) -> bool:
        """Whether there are features of this video; they may still be damaged."""
        ...

    def where(self, name: str) -> str:
        """Return the name of the features of this video in error texts."""
        ...

    def header(self, name: str) -> Header:
        """Return the shape of the features, without reading their values.

        Raises InputError if they are missing, damaged, or no floating-point (T, D) with T >= 1.
        """
        ...

    def read(self, name: str) -> Array:
        """Return the features (T, D), RGB channels first, not cast, their values unchecked.

        Raises InputError as `header` does.
        """
        ...


@dataclass(frozen=True)
class BundleStore:
    """The arrays of a published bundle, in memory."""

    path: Path
    arrays: Mapping[str, Array]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def where(self, name: str) -> str:
        """Return the bundle's path and the video."""
        return f"{self.path}: {name}"

    def header(self, name: str) -> Header:
        """Return the shape."""
        length, width = self.read(name).shape
        return Header(length, (width,))

    def read(self, name: str) -> Array:
        """Return the array as the bundle holds it."""
        if name not in self.arrays:
            raise InputError(f"{self.where(name)}: no features")
        rows = as_rows(self.arrays[name], self.where(name))
        check_rows(rows, self.where(name))
        return rows


@dataclass(frozen=True)
class FileStore:
    """The feature files of each video, by its name."""

    folder: Path
    files: Mapping[str, FeatureFile]

    def __contains__(self, name: str) -> bool:
        return self._file(name) is not None

    def where(self, name: str) -> str:
        """Return the path of the file or of both."""
        file = self._file(name)
        return f"{self.folder}: {name}" if file is None else file.where

    def header(self, name: str) -> Header:
        """Return the shape; an error if RGB and flow differ by too many snippets."""
        streams = self._open(name)
        lengths = [len(rows) for rows in streams]
        length = common_length(lengths[0], lengths[-1], self.where(name))
        return Header(length, tuple(rows.shape[1] for rows in streams), max(lengths) - length)

    def read(self, name: str) -> Array:
        """Return the one array, memory-mapped where the file is .npy, or the streams joined."""
        streams = self._open(name)
        if len(streams) == 1:
            return streams[0]
        length = common_length(len(streams[0]), len(streams[1]), self.where(name))
        return np.concatenate([rows[:length] for rows in streams], axis=1)

    def _open(self, name: str) -> tuple[Array, ...]:
        file = self._file(name)
        if file is None:
            raise InputError(f"{self.where(name)}: no features")
        return file.streams()

    def _file(self, name: str) -> FeatureFile | None:
        return next((self.files[alias] for alias in aliases(name) if alias in self.files), None)


def aliases(name: str) -> tuple[str, ...]:
    """Return the names by which a video may be known: with and without ActivityNet's v_."""
    return name, name.removeprefix(FILE_PREFIX), FILE_PREFIX + name


def find_store(
    folder: Path,
    rgb: Path | None = None,
    flow: Path | None = None,
    *,
    key: str | None = None,
    average_crops: bool = False,
) -> FileStore:
    """Find the feature files of a dataset.

    Args:
        folder: Searched at any depth, as `pair_streams` says.
        rgb: With `flow`, the folder of RGB features, searched at any depth instead of `folder`.
        flow: The folder of flow features.
        key: See FeatureFile.
        average_crops: See FeatureFile.

    Raises:
        InputError: There are no files, a video's name occurs twice, or one stream is missing.
    """
    if rgb is None or flow is None:
        files = pair_streams(folder)
    else:
        files = find_feature_files([rgb], flow)
    return FileStore(
        folder,
        {
            normalized(file.video): replace(file, key=key, average_crops=average_crops)
            for file in files
        },
    )
