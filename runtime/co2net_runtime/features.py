"""Feature files in every format users have -> (T, D) float32, checked."""

import contextlib
import io
import os
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError

SUFFIXES = (".npy", ".npz")
STDIN = "-"

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureFile:
    """The features of one video: one file of both streams, or RGB here and flow in another."""

    video: str
    path: Path
    flow_path: Path | None = None

    def read(self, feature_dim: int | None = None) -> Features:
        """Return the features (T, D) float32, T >= 1, all finite; RGB channels first.

        feature_dim: the width D that a model wants, None for any.

        Raises InputError naming the file, what was expected and what was found.
        """
        rows = open_array(self.path)
        if self.flow_path is None:
            return check_features(rows, str(self.path), feature_dim)
        flow = open_array(self.flow_path)
        rgb_checked = check_features(rows, str(self.path))
        flow_checked = check_features(flow, str(self.flow_path))
        if len(rgb_checked) != len(flow_checked):
            raise InputError(
                f"{self.flow_path}: {len(flow_checked)} snippets of flow, but {self.path} has "
                f"{len(rgb_checked)} of RGB: extract both with the same stride"
            )
        joined = np.concatenate([rgb_checked, flow_checked], axis=1)
        return check_features(joined, f"{self.path} with {self.flow_path}", feature_dim)

    def mapped(self) -> tuple[npt.NDArray[Any], ...]:
        """Return the arrays of the file or of both files, left on disk; none if not .npy files.

        Raises InputError if a file cannot be opened.
        """
        paths = [path for path in (self.path, self.flow_path) if path is not None]
        if any(path.suffix != ".npy" for path in paths):
            return ()
        return tuple(open_array(path) for path in paths)

    def length(self) -> int | None:
        """Return T from the file's header; None for stdin and files that cannot be used."""
        try:
            with contextlib.ExitStack() as stack:
                stream: IO[bytes] = stack.enter_context(self.path.open("rb"))
                if self.path.suffix == ".npz":
                    archive = stack.enter_context(zipfile.ZipFile(stream))
                    stream = stack.enter_context(archive.open(archive.namelist()[0]))
                shape, _, _ = _read_header(stream)
                return shape[0]
        except (ValueError, OSError, EOFError, IndexError, zipfile.BadZipFile):
            return None


def find_feature_files(
    arguments: Iterable[str | os.PathLike[str]], flow: str | os.PathLike[str] | None = None
) -> list[FeatureFile]:
    """Return the feature files that files, folders and glob patterns name.

    Folders give their .npy and .npz files, sorted by name; the video's name is the file's stem.
    "-" is one .npy on stdin, named stdin.
    flow: a folder that holds the flow features of each video under the same file name.

    Raises InputError if an argument names nothing, or two files have the same stem.
    """
    found: dict[str, FeatureFile] = {}
    for argument in arguments:
        for path in _expand(Path(argument)):
            flow_path = None if flow is None else Path(flow) / path.name
            video = "stdin" if str(path) == STDIN else path.stem
            earlier = found.get(video)
            if earlier is not None and earlier.path.resolve() != path.resolve():
                raise InputError(
                    f"{path}: its video has the same name as {earlier.path}: results are kept by "
                    "name, so run them apart"
                )
            found[video] = FeatureFile(video, path, flow_path)
    return list(found.values())


def open_array(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Open the array of a .npy file (memory-mapped) or of a .npz file that holds just one.

    "-" reads one .npy from stdin. Nothing pickled is read.

    Raises InputError if the file is missing, empty, truncated, holds objects, or is of another
    format.
    """
    file = Path(path)
    if str(path) == STDIN:
        return _read_stdin()
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    if file.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a {' or '.join(SUFFIXES)} file")
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        return _open_npy(file) if file.suffix == ".npy" else _open_npz(file)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged or truncated, expected a numpy array") from error


def check_features(rows: npt.NDArray[Any], where: str, feature_dim: int | None = None) -> Features:
    """Return features (T, D) as float32, T >= 1, all finite.

    float16 and float64 are cast. Raises InputError for what `check_rows` refuses and for NaN or
    infinity; `where` names the source.
    """
    check_rows(rows, where, feature_dim)
    # a value beyond float32's range becomes infinite and is reported below
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(rows, dtype=np.float32)
    finite = np.isfinite(features)
    if not finite.all():
        snippets, channels = np.nonzero(~finite)
        raise InputError(
            f"{where}: {len(snippets)} values are NaN or infinite (as float32), the first in "
            f"snippet {snippets[0]}, channel {channels[0]}"
        )
    return features


def check_rows(rows: npt.NDArray[Any], where: str, feature_dim: int | None = None) -> None:
    """Check that an array is (T, D) floating-point with T >= 1; its values are not read.

    Raises InputError for another number of dimensions, another width than `feature_dim`, T = 0,
    integer or object dtype; `where` names the source.
    """
    if rows.dtype.kind != "f":
        raise InputError(f"{where}: expected floating-point features, found dtype {rows.dtype}")
    if rows.ndim != 2:
        raise InputError(f"{where}: expected an array (T, D), found shape {rows.shape}")
    if feature_dim is not None and rows.shape[1] != feature_dim:
        hint = " (transposed?)" if rows.shape[0] == feature_dim else ""
        raise InputError(
            f"{where}: expected {feature_dim} channels a snippet, found shape {rows.shape}{hint}"
        )
    if rows.shape[0] == 0:
        raise InputError(f"{where}: no snippets (T = 0)")


def _open_npy(file: Path) -> npt.NDArray[Any]:
    with file.open("rb") as stream:
        _, _, dtype = _read_header(stream)
    if dtype.hasobject:
        raise InputError(
            f"{file}: an object array, expected one video's features as numbers (T, D): "
            "split a published bundle with 'co2net-data convert'"
        )
    mapped: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return mapped


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype of a .npy stream, which then stands at the values."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    return read(stream)


def _read_stdin() -> npt.NDArray[Any]:
    # numpy seeks, and a pipe cannot
    content = io.BytesIO(sys.stdin.buffer.read())
    try:
        return np.asarray(np.lib.format.read_array(content, allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise InputError("stdin: damaged or truncated, expected one .npy array") from error


def _open_npz(file: Path) -> npt.NDArray[Any]:
    # opened here, since numpy leaves the file open when the archive is damaged
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        if len(archive.files) != 1:
            raise InputError(
                f"{file}: expected one array in the archive, found {len(archive.files)}: "
                f"{', '.join(archive.files[:5])}"
            )
        return np.asarray(archive[archive.files[0]])


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if not files:
            raise InputError(f"{path}: no {' or '.join(SUFFIXES)} file in this folder")
        return files
    if not path.exists() and any(sign in str(path) for sign in "*?["):
        anchor = Path(path.anchor) if path.anchor else Path()
        files = sorted(anchor.glob(str(path.relative_to(path.anchor))))
        if not files:
            raise InputError(f"{path}: no file matches this pattern")
        return files
    return [path]
