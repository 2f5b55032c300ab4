"""Arrays in .npy and .npz files, judged by their headers before anything is allocated.

The header is parsed by its grammar, not evaluated as Python: nothing in a file can make this slow,
warn, or raise anything but InputError. Pickled objects are never read here.
"""

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError

Array = npt.NDArray[Any]

Part = TypeVar("Part")

MAGIC = b"\x93NUMPY"

# numpy's own files keep their header far below this
MAX_HEADER_BYTES = 1 << 16

_ITEM = (
    r"(?:'descr'\s*:\s*'(?P<dtype{0}>[^']*)'"
    r"|'fortran_order'\s*:\s*(?P<order{0}>True|False)"
    r"|'shape'\s*:\s*\((?P<shape{0}>[\dL,\s]*)\))"
)
_HEADER = re.compile(
    r"\s*\{\s*" + r"\s*,\s*".join(_ITEM.format(i) for i in range(3)) + r"\s*,?\s*\}\s*"
)
# Python 2 wrote 3L for 3
_SHAPE = re.compile(r"\s*(?:\d{1,19}L?\s*,\s*)*(?:\d{1,19}L?\s*)?")
_DTYPE = re.compile(r"[<>|=]?[biufcSUOVmM?]\d{0,9}")

# an archive that unpacks to more than this much of its own size is not one of features
_MAX_EXPANSION = 200
_ALWAYS_ALLOWED_BYTES = 1 << 26


@dataclass(frozen=True)
class NpyHeader:
    """The header of a .npy file: shape, order and type of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    offset: int  # bytes from the file's beginning to the array's

    @property
    def nbytes(self) -> int:
        """The bytes of the array's values; for an object array, of nothing that is in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(data: bytes) -> NpyHeader | None:
    """Parse the .npy header that `data` begins with.

    Returns:
        The header, or None if it goes on beyond `data`.

    Raises:
        ValueError: `data` begins with something else, or the header is damaged; the text says
            why, on one line.
    """
    if not (data.startswith(MAGIC) or MAGIC.startswith(data)):
        raise ValueError("not a .npy array")
    if len(data) < 12:
        return None
    version = (data[6], data[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"a .npy format {version[0]}.{version[1]} that does not exist")
    begin = 10 if version == (1, 0) else 12
    length = int.from_bytes(data[8:begin], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    if len(data) < begin + length:
        return None
    text = data[begin : begin + length].decode("latin-1").replace('"', "'")
    match = _HEADER.fullmatch(text)
    values: dict[str, str] = {}
    for name, value in match.groupdict().items() if match else ():
        if value is not None:
            values[name[:-1]] = value
    if len(values) < 3 or not _SHAPE.fullmatch(values["shape"]):
        raise ValueError(f"a damaged header: {text.strip()[:60]!r}")
    shape = tuple(int(part) for part in values["shape"].replace("L", "").split(",") if part.strip())
    header = NpyHeader(
        shape, plain_dtype(values["dtype"]), values["order"] == "True", begin + length
    )
    if len(shape) > 32 or math.prod(size for size in shape if size) >= 1 << 62:
        raise ValueError(f"an array of shape {shape}, which no file holds")
    if not math.prod(shape) * header.dtype.itemsize and max(shape, default=0) > MAX_HEADER_BYTES:
        raise ValueError(f"an array of shape {shape} of nothing")
    return header


def map_npy(path: str | os.PathLike[str]) -> Array:
    """Open a .npy file's array, left on disk: a read-only memory map.

    Raises:
        InputError: The file cannot be read, is damaged or cut, or holds objects.
    """
    try:
        with Path(path).open("rb") as file:
            header = read_header(file, str(path))
            _check_plain(header, str(path))
            held = os.fstat(file.fileno()).st_size - header.offset
        _check_size(header, held, str(path))
        if not header.nbytes:
            return np.zeros(header.shape, header.dtype)
        order = "F" if header.fortran_order else "C"
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload,no-any-return]
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def check_not_cut(array: Array, where: str) -> None:
    """Check that the file behind a memory map has not been cut since it was opened.

    Reading past a mapped file's new end kills the process (SIGBUS); right before a read, this
    finds all but a cut in the moment between.

    Raises InputError if it has; `where` names the source.
    """
    name = getattr(array, "filename", None)
    if name is None:
        return
    try:
        held = Path(name).stat().st_size
    except OSError:  # deleted: the map keeps what it showed
        return
    if held < getattr(array, "offset", 0) + array.nbytes:
        raise InputError(f"{where}: the file was cut while it was read")


def read_header(file: IO[bytes], where: str) -> NpyHeader:
    """Read the header at the beginning of an open file; `where` names the file in errors.

    Raises:
        InputError: The header is damaged or cut.
    """
    data = file.read(12)
    try:
        header = parse_header(data)
        if header is None:
            data += file.read(MAX_HEADER_BYTES)
            header = parse_header(data)
    except ValueError as error:
        raise InputError(f"{where}: damaged: {error}, expected a numpy array") from error
    if header is None:
        raise InputError(f"{where}: damaged or truncated, expected a numpy array")
    file.seek(header.offset)
    return header


def parse_npy(data: bytes, where: str) -> Array:
    """Return the array of a whole .npy file in memory, sharing its bytes.

    Raises:
        InputError: It is damaged or cut, or holds objects; `where` names the source.
    """
    try:
        header = parse_header(data)
    except ValueError as error:
        raise InputError(f"{where}: damaged: {error}, expected a numpy array") from error
    if header is None:
        raise InputError(f"{where}: damaged or truncated, expected a numpy array")
    _check_plain(header, where)
    _check_size(header, len(data) - header.offset, where)
    return shaped(header, data[header.offset : header.offset + header.nbytes])


def shaped(header: NpyHeader, values: bytes) -> Array:
    """Return the bytes of the values as the array that the header announces."""
    order: Any = "F" if header.fortran_order else "C"
    if not header.nbytes:
        return np.zeros(header.shape, header.dtype)
    return np.frombuffer(values, header.dtype).reshape(header.shape, order=order)


def read_npz(path: str | os.PathLike[str]) -> Mapping[str, Array]:
    """Read all arrays of a .npz archive as numpy writes it, by name.

    Raises:
        InputError: The file cannot be read; it is damaged, encrypted, or compressed in a way that
            numpy does not use; a member is listed twice, holds objects, or unpacks to far more
            than features do.
    """
    return _read_members(path, _values)


def npz_shapes(path: str | os.PathLike[str]) -> Mapping[str, tuple[int, ...]]:
    """Read the shapes of all arrays of a .npz archive, by name.

    Raises InputError as `read_npz` does.
    """
    return _read_members(path, lambda _file, header, _where: header.shape)


def _read_members(
    path: str | os.PathLike[str], read: Callable[[IO[bytes], NpyHeader, str], Part]
) -> dict[str, Part]:
    try:
        with zipfile.ZipFile(path) as archive:
            parts: dict[str, Part] = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    continue
                if name in parts:
                    raise InputError(f"{path}: damaged: holds {member.filename} twice")
                where = f"{path}: {member.filename}"
                _check_member(member, where)
                with archive.open(member) as file:
                    header = read_header(file, where)
                    _check_plain(header, where)
                    _check_size(header, member.file_size - header.offset, where)
                    parts[name] = read(file, header, where)
            return parts
    # what zipfile raises for bytes that are not, or no longer, an archive
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        OSError,
        EOFError,
        ValueError,
        LookupError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        struct.error,
    ) as error:
        raise _unreadable(path, error) from error


def _values(file: IO[bytes], header: NpyHeader, where: str) -> Array:
    values = file.read(header.nbytes)
    # past the end lies the checksum
    file.read()
    _check_size(header, len(values), where)
    return shaped(header, values)


def _check_member(member: zipfile.ZipInfo, where: str) -> None:
    if member.flag_bits & 1:
        raise InputError(f"{where}: encrypted: save it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{where}: compressed by method {member.compress_type}, expected numpy's savez or "
            "savez_compressed"
        )
    if member.file_size > max(_ALWAYS_ALLOWED_BYTES, _MAX_EXPANSION * member.compress_size):
        raise InputError(
            f"{where}: {member.file_size} bytes packed into {member.compress_size}: that is not "
            "an array of features"
        )


def plain_dtype(text: str) -> np.dtype[Any]:
    """Return the dtype that a code names: numbers, text, bytes, dates, or objects.

    Raises ValueError for anything else, such as records.
    """
    if not _DTYPE.fullmatch(text):
        raise ValueError(f"an array of dtype {text[:40]!r}")
    try:
        return np.dtype(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an array of dtype {text!r}") from error


def _check_plain(header: NpyHeader, where: str) -> None:
    if header.dtype.hasobject:
        raise InputError(
            f"{where}: an object array, expected one video's features as numbers (T, D): "
            "split a published bundle with 'co2net-data convert'"
        )


def _check_size(header: NpyHeader, held: int, where: str) -> None:
    if held < header.nbytes:
        raise InputError(
            f"{where}: damaged or truncated: its header announces an array of shape "
            f"{header.shape}, {header.nbytes} bytes, and {max(held, 0)} follow"
        )


def _unreadable(path: str | os.PathLike[str], error: Exception) -> InputError:
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"{path}: cannot read the file: {error.strerror}")
    return InputError(f"{path}: damaged or truncated, expected a numpy array")
