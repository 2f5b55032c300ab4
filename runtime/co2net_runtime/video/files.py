"""Video files in; growing .npy files, and folders of features that were all made alike, out."""

import glob
import logging
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import is_pattern
from co2net_runtime.features import Features
from co2net_runtime.files.atomic import atomic_path, output_folder
from co2net_runtime.video import SUFFIXES
from co2net_runtime.video.decode import without_password
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.identity import EXTRACTION_NAME, Extraction, read_extraction

logger = logging.getLogger(__name__)

DtypeName = Literal["float16", "float32"]
# bytes of a .npy file before its values; numpy reads headers of any multiple of 64
_HEADER = 128


def list_videos(arguments: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the video files that files, folders and glob patterns name, each once.

    Folders give their files with a video's suffix, sorted by name.

    Raises InputError if an argument names nothing, or is an address.
    """
    names = [os.fspath(argument) for argument in arguments]
    for name in names:
        if "://" in name:
            raise InputError(
                f"{without_password(name)}: an address, expected video files: record it first, or "
                "localize it live with co2net-infer --live"
            )
    return list(dict.fromkeys(path for name in names for path in _expand(Path(name))))


def find_videos(arguments: Iterable[str | os.PathLike[str]]) -> dict[str, Path]:
    """Return the video files that `list_videos` finds, by the files' stems.

    Raises InputError if an argument names nothing, or two files have the same stem.
    """
    found: dict[str, Path] = {}
    for path in list_videos(arguments):
        earlier = found.setdefault(path.stem, path)
        if earlier.resolve() != path.resolve():
            raise InputError(
                f"{path}: has the same name as {earlier}: features are kept by name, so "
                "extract them apart"
            )
    return found


def check_folder(folder: Path, extraction: Extraction) -> None:
    """Create a folder for features, and check that those in it were made alike.

    Raises InputError if they were not, or the folder cannot be written.
    """
    output_folder(folder)
    there = read_extraction(folder)
    if there is None:
        extraction.write(folder)
        return
    difference = extraction.differs(there)
    if difference is not None:
        raise InputError(
            f"{folder / EXTRACTION_NAME}: the features in this folder were made otherwise: here: "
            f"{difference}: choose another --out folder"
        )


def refuse_existing(folder: Path, videos: Iterable[str], *, overwrite: bool) -> None:
    """Raise InputError if a folder holds features of one of the videos, unless `overwrite`."""
    for name in videos:
        file = folder / f"{name}.npy"
        if file.exists() and not overwrite:
            raise InputError(
                f"{file}: exists already: pass --skip-existing to keep it, or --overwrite"
            )


def write_features(
    extractor: Extractor,
    video: Path,
    target: Path,
    dtype: DtypeName = "float32",
    on_rows: Callable[[int], None] | None = None,
) -> int:
    """Extract a video's features into a .npy file; it appears when it is whole.

    Args:
        extractor: The opened backbones.
        video: The video file.
        target: The file to write, (T, width).
        dtype: Of its values.
        on_rows: Called with the count of rows that were added, for progress.

    Returns:
        T.

    Raises:
        InputError: The video cannot be used, or the file cannot be written.
        BackendError: The engine fails.
    """
    with atomic_path(target) as temporary, temporary.open("r+b") as file:
        count = 0
        file.write(_header(0, extractor.width, dtype))
        rows: Generator[Features, None, None] = extractor.rows(video)
        try:
            for block in rows:
                file.write(_bytes(block, video, dtype))
                count += len(block)
                if on_rows is not None:
                    on_rows(len(block))
        finally:
            rows.close()
        _rewrite(file, _header(count, extractor.width, dtype))
    return count


def _bytes(block: Features, video: Path, dtype: DtypeName) -> bytes:
    with np.errstate(over="ignore"):
        values = block.astype(np.dtype(dtype).newbyteorder("<"))
    if not np.isfinite(values).all():
        raise InputError(f"{video}: the backbones gave features that are not finite in {dtype}")
    return values.tobytes()


def _header(count: int, width: int, dtype: DtypeName) -> bytes:
    """Return the header of a .npy file, version 1.0, always of the same length."""
    descr = np.dtype(dtype).newbyteorder("<").str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count}, {width}), }}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little")
    return start + text.encode().ljust(_HEADER - 11) + b"\n"


def _rewrite(file: BinaryIO, header: bytes) -> None:
    file.seek(0)
    file.write(header)


def _expand(path: Path) -> list[Path]:
    if os.path.isdir(path):  # noqa: PTH112  # unlike Path's, false for names that cannot be
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"{path}: no video file in this folder ({', '.join(SUFFIXES)})")
        return files
    if is_pattern(path):
        files = sorted(Path(name) for name in glob.glob(str(path)))  # noqa: PTH207  # any anchor
        if not files:
            raise InputError(f"{path}: no file matches this pattern")
        return files
    return [path]
