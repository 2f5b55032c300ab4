"""Where the features of a dataset lie, and how those of one video are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.features import SUFFIXES, check_rows, open_array

Array = npt.NDArray[Any]

# extractors differ by a snippet or two in how they treat a video's end
MAX_STREAM_DIFFERENCE = 2

# ActivityNet's files have this prefix, its annotations do not
FILE_PREFIX = "v_"


@dataclass(frozen=True)
class Header:
    """The shape of one video's features.

    length: snippets T. widths: (D,), or the channels of RGB and of flow where they are kept
    apart. cut: snippets by which the longer of the two streams exceeds T.
    """

    length: int
    widths: tuple[int, ...]
    cut: int = 0


class FeatureStore(Protocol):
    """Features by video name."""

    def __contains__(self, name: str) -> bool:
        """Whether there are features of this video; they may still be damaged."""
        ...

    def where(self, name: str) -> str:
        """Return what errors call the features of this video."""
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
        rows = self.arrays[name]
        check_rows(rows, self.where(name))
        return rows


@dataclass(frozen=True)
class FileStore:
    """One file per video; `paths` gives them by stem, which is the video's name."""

    folder: Path
    paths: Mapping[str, Path]

    def __contains__(self, name: str) -> bool:
        return self._path(name) is not None

    def where(self, name: str) -> str:
        """Return the file's path."""
        return str(self._path(name) or f"{self.folder}: {name}")

    def header(self, name: str) -> Header:
        """Return the shape."""
        length, width = self.read(name).shape
        return Header(length, (width,))

    def read(self, name: str) -> Array:
        """Return the array, memory-mapped where the file is .npy."""
        path = self._path(name)
        if path is None:
            raise InputError(f"{self.where(name)}: no features")
        rows = open_array(path)
        check_rows(rows, str(path))
        return rows

    def _path(self, name: str) -> Path | None:
        for stem in (name, FILE_PREFIX + name, name.removeprefix(FILE_PREFIX)):
            if stem in self.paths:
                return self.paths[stem]
        return None


@dataclass(frozen=True)
class StreamStore:
    """RGB features in one set of files, flow in another; the longer stream is cut at its end."""

    rgb: FileStore
    flow: FileStore

    def __contains__(self, name: str) -> bool:
        return name in self.rgb and name in self.flow

    def where(self, name: str) -> str:
        """Return both files' paths."""
        return f"{self.rgb.where(name)} with {self.flow.where(name)}"

    def header(self, name: str) -> Header:
        """Return the shapes; an error if the streams differ by more than 2 snippets."""
        streams = (self.rgb.header(name), self.flow.header(name))
        lengths = [stream.length for stream in streams]
        cut = max(lengths) - min(lengths)
        if cut > MAX_STREAM_DIFFERENCE:
            raise InputError(
                f"{self.where(name)}: {lengths[0]} snippets of RGB but {lengths[1]} of flow: "
                "extract both with the same stride"
            )
        return Header(min(lengths), (*streams[0].widths, *streams[1].widths), cut)

    def read(self, name: str) -> Array:
        """Return the streams joined in memory."""
        length = self.header(name).length
        return np.concatenate([self.rgb.read(name)[:length], self.flow.read(name)[:length]], axis=1)


def find_store(folder: Path) -> FileStore | StreamStore:
    """Find the feature files below a folder, at any depth.

    Files in folders called rgb and flow are the two streams of a video; without such folders
    every file holds both.

    Raises InputError if there are no files, a video's name occurs twice, or one of rgb and flow is
    missing.
    """
    files = _feature_files(folder)
    rgb, flow = ([p for p in files if p.parent.name.casefold() == s] for s in ("rgb", "flow"))
    if not rgb and not flow:
        return _file_store(folder, files)
    if not rgb or not flow:
        raise InputError(
            f"{folder}: found a folder of {'rgb' if rgb else 'flow'} features but none of "
            f"{'flow' if rgb else 'rgb'}: CO2-Net needs both streams"
        )
    return StreamStore(_file_store(folder, rgb), _file_store(folder, flow))


def stream_store(rgb: Path, flow: Path) -> StreamStore:
    """Return the store of two given folders, each searched at any depth.

    Raises InputError if one has no files or a video's name occurs twice in it.
    """
    return StreamStore(
        _file_store(rgb, _feature_files(rgb)), _file_store(flow, _feature_files(flow))
    )


def _feature_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no {' or '.join(SUFFIXES)} file in this folder")
    return files


def _file_store(folder: Path, files: list[Path]) -> FileStore:
    paths: dict[str, Path] = {}
    for path in files:
        if path.stem in paths:
            raise InputError(f"{path}: its video has the same name as {paths[path.stem]}")
        paths[path.stem] = path
    return FileStore(folder, paths)
