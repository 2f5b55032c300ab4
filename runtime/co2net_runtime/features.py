"""Feature files in every format users have -> (T, D) float32, checked."""

import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.files.inputs import require_file
from co2net_runtime.files.npy import check_not_cut, map_npy, npz_shapes, parse_npy, read_npz
from co2net_runtime.files.text import number_of

logger = logging.getLogger(__name__)

SUFFIXES = (".npy", ".npz")
STDIN = "-"

# extractors differ by a snippet or two in how they treat a video's end
MAX_STREAM_DIFFERENCE = 2

# crops of a frame, of which features may hold one row each
_CROPS = (10, 5)

STREAMS = ("rgb", "flow")

Array = npt.NDArray[Any]
Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)  # there may be a million
class FeatureFile:
    """The features of one video: one file, or RGB in one and flow in another."""

    video: str
    path: Path
    flow_path: Path | None = None
    key: str | None = None  # the array to take from a .npz file; None: as `choose_arrays` does
    average_crops: bool = False  # of (T, crops, D), take the mean over the crops

    @property
    def where(self) -> str:
        """The file, or both files, for error texts."""
        return str(self.path) if self.flow_path is None else f"{self.path} with {self.flow_path}"

    @property
    def film(self) -> Path | None:
        """The video that the features are being extracted from; None if they exist already."""
        return None

    def read(self, feature_dim: int | None = None) -> Features:
        """Read the features; RGB channels come first.

        The longer of two streams is cut at its end, by at most MAX_STREAM_DIFFERENCE snippets.

        Args:
            feature_dim: The width D that a model wants; None for any.

        Returns:
            (T, D) float32, T >= 1, all finite.

        Raises:
            InputError: A file is missing, damaged or of another shape or dtype; the text names the
                file, what was expected and what was found.
        """
        parts = self.streams(feature_dim)
        for part in parts:
            check_not_cut(part, self.where)
        if len(parts) == 1:
            return check_features(parts[0], self.where, feature_dim)
        length = common_length(len(parts[0]), len(parts[1]), self.where)
        if {len(part) for part in parts} != {length}:
            logger.info("%s: the longer stream is cut to %d snippets", self.where, length)
        places = (
            [f"{self.path}: {stream}" for stream in STREAMS]
            if self.flow_path is None
            else [str(self.path), str(self.flow_path)]
        )
        checked = [
            check_features(part[:length], place) for part, place in zip(parts, places, strict=True)
        ]
        return check_features(np.concatenate(checked, axis=1), self.where, feature_dim)

    def streams(self, feature_dim: int | None = None) -> tuple[Array, ...]:
        """Open the features: one array (T, D), or RGB and flow, not yet cut to one length.

        The arrays of .npy files stay on disk. Their values are not checked.

        Raises InputError as `read` does.
        """
        paths = [path for path in (self.path, self.flow_path) if path is not None]
        arrays = []
        for path in paths:
            wanted = feature_dim if len(paths) == 1 else None
            for rows in _open_arrays(path, wanted, self.key):
                arrays.append(as_rows(rows, str(path), average_crops=self.average_crops))
                check_rows(arrays[-1], str(path))
        if len(arrays) > 2:
            raise InputError(
                f"{self.where}: {len(arrays)} arrays, expected one of RGB, one of flow"
            )
        return tuple(arrays)

    def cancel(self) -> None:
        """Cancel a long reading in another thread; here none takes long."""

    def mapped(self) -> tuple[Array, ...]:
        """Return the arrays of `streams` if all of them are memory-mapped, else an empty tuple.

        Raises InputError as `read` does.
        """
        paths = [path for path in (self.path, self.flow_path) if path is not None]
        if any(path.suffix != ".npy" for path in paths):
            return ()
        return self.streams()

    def length(self) -> int | None:
        """Return T from the headers; None for stdin, and for files that cannot be used."""
        with contextlib.suppress(InputError):
            if self.path.suffix == ".npz":
                shapes = npz_shapes(self.path).values()
                return next((shape[0] for shape in shapes if len(shape) == 2), None)
            if str(self.path) != STDIN:
                return min(len(part) for part in self.streams())
        return None


def common_length(rgb: int, flow: int, where: str) -> int:
    """Return the number of snippets that both streams have; the rule for all commands.

    Raises InputError if they differ by more than MAX_STREAM_DIFFERENCE; `where` names the source.
    """
    if abs(rgb - flow) > MAX_STREAM_DIFFERENCE:
        raise InputError(
            f"{where}: {rgb} snippets of RGB but {flow} of flow: extract both with the same stride"
        )
    return min(rgb, flow)


def _open_arrays(
    path: str | os.PathLike[str], feature_dim: int | None = None, key: str | None = None
) -> tuple[Array, ...]:
    """Open the array of a .npy file (memory-mapped), or those of a .npz file that are features.

    "-" reads one .npy from stdin. Nothing pickled is read. Arguments as in `choose_arrays`.

    Raises InputError if the file is missing, empty, damaged, cut, holds objects, or is of another
    format.
    """
    file = Path(path)
    if str(path) == STDIN:
        return (parse_npy(sys.stdin.buffer.read(), "stdin"),)
    require_file(file)
    if file.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a {' or '.join(SUFFIXES)} file")
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if file.suffix == ".npy":
        return (map_npy(file),)
    return choose_arrays(read_npz(file), str(path), feature_dim, key)


def choose_arrays(
    arrays: Mapping[str, Array], where: str, feature_dim: int | None, key: str | None
) -> tuple[Array, ...]:
    """Return the features among the arrays of an archive.

    Args:
        arrays: By name.
        where: The archive, for errors.
        feature_dim: The width that tells the array, where the rules below do not.
        key: The name of the array to take.

    Returns:
        The array `key`; the only one; those called rgb and flow; or the only one of that width.

    Raises:
        InputError: None of this is there.
    """
    named = {name.casefold(): rows for name, rows in arrays.items()}
    fitting = [rows for rows in arrays.values() if rows.ndim == 2 and rows.shape[1] == feature_dim]
    if key is not None and key in arrays:
        return (arrays[key],)
    if key is None and len(arrays) == 1:
        return tuple(arrays.values())
    if key is None and set(STREAMS) <= named.keys():
        return named["rgb"], named["flow"]
    if key is None and len(fitting) == 1:
        return tuple(fitting)
    found = ", ".join(f"{name} {rows.shape}" for name, rows in list(arrays.items())[:5])
    wanted = "one array, or rgb and flow" if key is None else f"an array {key!r}"
    hint = ": name one with --key" if key is None and arrays else ""
    raise InputError(f"{where}: expected {wanted} in the archive, found {found or 'none'}{hint}")


def as_rows(array: Array, where: str, *, average_crops: bool = False) -> Array:
    """Return features as (T, D): axes of length 1 are dropped, (T, 1, 1, D) or (1, T, D).

    Args:
        array: The features as a file holds them.
        where: Name of their source, for error texts.
        average_crops: Of (T, crops, D) or (crops, T, D), return the mean over the crops, float32.

    Raises:
        InputError: There are crops, and they are not to be averaged.
    """
    if array.ndim <= 2 or not array.size or array.dtype.kind != "f":
        return array
    sizes = [size for size in array.shape if size > 1]
    if len(sizes) <= 2:
        return array.reshape((1, 1, *sizes)[-2:])
    axes = (axis for count in _CROPS for axis in (1, 0) if array.shape[axis] == count)
    crops = next(axes, None)
    if array.ndim != 3 or crops is None:
        return array
    if not average_crops:
        raise InputError(
            f"{where}: shape {array.shape}: {array.shape[crops]} crops of each snippet, expected "
            "(T, D): average them with 'co2net-data convert --average-crops' or "
            f"features.mean(axis={crops})"
        )
    mean: Features = array.mean(axis=crops, dtype=np.float64).astype(np.float32)
    return mean


def check_features(rows: Array, where: str, feature_dim: int | None = None) -> Features:
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
        values = number_of(len(snippets), "value") + (" is" if len(snippets) == 1 else " are")
        raise InputError(
            f"{where}: {values} NaN or infinite (as float32), the first in snippet {snippets[0]}, "
            f"channel {channels[0]}"
        )
    return features


def check_rows(rows: Array, where: str, feature_dim: int | None = None) -> None:
    """Check that an array is (T, D) floating-point with T >= 1; its values are not read.

    Raises InputError for another number of dimensions, another width than `feature_dim`, T = 0,
    integer or object dtype; `where` names the source.
    """
    if rows.dtype.kind != "f":
        raise InputError(f"{where}: expected floating-point features, found dtype {rows.dtype}")
    if rows.ndim != 2:
        raise InputError(f"{where}: expected an array (T, D), found shape {rows.shape}")
    if feature_dim is not None and rows.shape[1] != feature_dim:
        hint = ""
        if rows.shape[0] == feature_dim:
            hint = " (transposed?)"
        elif 2 * rows.shape[1] == feature_dim:
            hint = " (one stream of two? Pass the RGB files and --flow DIR)"
        raise InputError(
            f"{where}: expected {feature_dim} channels a snippet, found shape {rows.shape}{hint}"
        )
    if rows.shape[0] == 0:
        raise InputError(f"{where}: no snippets (T = 0)")
    if rows.shape[1] == 0:
        raise InputError(f"{where}: no channels (D = 0)")
