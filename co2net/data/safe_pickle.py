"""Pickled numpy arrays (in .npy files and checkpoints), read without executing what they name.

The unpickler admits numpy arrays and scalars and plain values (numbers, text, bytes, None, lists,
tuples, dicts). Arrays are rebuilt here from their pickled parts: not even numpy's own unpickling
sees the file, since a crafted dtype makes that read arbitrary memory.
"""

import os
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.files.npy import map_npy, plain_dtype, read_header

_DTYPE_KINDS = "biufcSUO"

# longest axis of an array without values, or with values of 0 bytes
_MAX_EMPTY = 1 << 16


def load_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read a .npy file whose array may be an object array of arrays and plain values.

    Files of Python 2 and of old numpy versions are understood; their `str` is read as Latin-1.
    Arrays inside are read-only where they share the file's bytes.

    Raises InputError if the file is missing, damaged, no .npy, or holds any other object.
    """
    try:
        with Path(path).open("rb") as file:
            if not read_header(file, str(path)).dtype.hasobject:
                return np.array(map_npy(path))
            return _object_array(file, path)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from error


class _Bounded:
    """A file that is never asked for more bytes than it holds: they would be allocated first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        position = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(position)
        self.readline = file.readline

    @property
    def left(self) -> int:
        """The bytes not read yet."""
        return self._size - self._file.tell()

    def read(self, count: int = -1) -> bytes:
        """Read bytes; EOFError if there are fewer."""
        if count > self.left:
            raise EOFError(f"{count} bytes announced, {self.left} follow")
        return self._file.read(count)


def _object_array(file: BinaryIO, path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    array = load_pickle(file, path)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: expected a numpy array, found a {type(array).__name__}")
    return array


def load_pickle(file: BinaryIO, path: str | os.PathLike[str]) -> Any:
    """Return the pickled object that begins at the file's position.

    Args:
        file: An open file.
        path: Its name, for error texts.

    Raises:
        InputError: It is damaged, or asks for anything but numpy arrays and plain values.
    """
    try:
        bounded = _Bounded(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in text that Python 2 wrote
            return _resolve(_Unpickler(bounded, bounded.left).load(), {})
    except _RefusedError as error:
        raise InputError(
            f"{path}: refused: its pickle asks for {error}, and only numpy arrays and plain "
            "values are read (anything else could execute code)"
        ) from error
    # a damaged or hostile stream can make the unpickler stumble in any of these ways
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
        struct.error,
    ) as error:
        raise InputError(f"{path}: its pickled content is damaged or truncated") from error


class _RefusedError(Exception):
    """The pickle names an object outside the admitted ones."""


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python; the one in C makes its memo as long as a file says."""

    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: _Bounded, size: int) -> None:
        super().__init__(file, encoding="latin1")
        # a pickle can have the same bytes copied again and again; an honest one copies each once
        self._copies_left = size

    def _copied(self, size: int) -> None:
        self._copies_left -= size
        if self._copies_left < 0:
            raise pickle.UnpicklingError("copies more than the file holds")

    def _encode(self, text: str, encoding: str) -> bytes:
        # how protocol 2 spells the bytes of Python 3
        if encoding != "latin1":
            raise _RefusedError(f"_codecs.encode to {encoding}")
        self._copied(len(text))
        return text.encode("latin1")

    def _scalar(self, dtype: Any, data: Any) -> Any:
        self._copied(len(data))
        return _build(data, dtype, (1,), "C")[0]

    def _load_bytearray(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core; either may have written the file
        place = (module.replace("numpy._core.", "numpy.core."), name)
        if place == ("_codecs", "encode"):
            return self._encode
        if place == ("numpy.core.multiarray", "scalar"):
            return self._scalar
        known = _ADMITTED.get(place)
        if known is None:
            raise _RefusedError(ascii(f"{module}.{name}")[1:-1][:100])
        return known


class _Dtype:
    """Stands for a pickled dtype of plain numbers, bytes, text or objects."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        try:
            dtype = plain_dtype(_text(code))
        except ValueError as error:
            raise _RefusedError(str(error)) from error
        if dtype.kind not in _DTYPE_KINDS or dtype.hasobject != (dtype.kind == "O"):
            raise _RefusedError(f"the dtype {dtype}")
        self.dtype: np.dtype[Any] = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # (version, byte order, subarray, names, fields, item size, alignment, flags[, metadata]):
        # the code has already said all but the byte order
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("a structured dtype")
        order = _text(state[1])
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")
        elif order == "<":
            self.dtype = self.dtype.newbyteorder("<")


class _Array:
    """Stands for a pickled array until its state is known."""

    array: npt.NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, data = state
        self.array = _build(data, dtype, shape, "F" if is_fortran else "C")


def _build(data: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> npt.NDArray[Any]:
    if not isinstance(dtype, _Dtype):
        raise TypeError("an array without a dtype")
    if dtype.dtype.hasobject:
        array = np.empty(len(data), dtype=object)
        for index, item in enumerate(data):
            array[index] = item
    elif dtype.dtype.itemsize == 0 or 0 in shape:
        # of nothing, however large it says it is
        if max(shape, default=0) > _MAX_EMPTY:
            raise ValueError(f"an array of shape {shape} of nothing")
        array = np.zeros(shape, dtype.dtype)
    else:
        raw = data.encode("latin1") if isinstance(data, str) else data
        array = np.frombuffer(raw, dtype.dtype)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(_subtype: Any, _shape: Any, _code: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: tuple[int, ...], order: Any) -> npt.NDArray[Any]:
    return _build(data, dtype, shape, order)


def _empty_bytes() -> bytes:
    return b""


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


_ADMITTED: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("__builtin__", "bytes"): _empty_bytes,
    ("builtins", "bytes"): _empty_bytes,
}


def _resolve(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Return `value` with every stand-in replaced by its array, each shared part visited once.

    seen: id -> (the part, its result); holding the part keeps its id from being given again.
    """
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, _Array):
        result = _resolve(value.array, seen)
    elif isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            for index in np.ndindex(value.shape):
                value[index] = _resolve(value[index], seen)
        result = value
    elif isinstance(value, list):
        result = [_resolve(item, seen) for item in value]
    elif isinstance(value, tuple):
        result = tuple(_resolve(item, seen) for item in value)
    elif isinstance(value, dict):
        result = {key: _resolve(item, seen) for key, item in value.items()}
    elif isinstance(value, _Dtype):
        raise _RefusedError("a bare dtype")
    else:
        return value
    seen[id(value)] = (value, result)
    return result
