"""Bytes of a pipe or a socket -> blocks of snippets, each judged by its header first."""

import ast
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from co2net_runtime.live.arrivals import NOTHING, Array, Arrival, judge, snippet_shape

MAGIC = b"\x93NUMPY"

# a header that says more is taken for damaged, and so is a block
_MAX_HEADER_BYTES = 10_000
_MAX_BLOCK_BYTES = 1 << 28
# looks in vain after which the beginning of a snippet is reported, about a second
_PATIENCE = 20

Header = tuple[tuple[int, ...], bool, "np.dtype[Any]", int]


def read_header(data: bytes | bytearray) -> Header | None:
    """Read the .npy header that `data` begins with.

    Returns:
        Shape, whether in Fortran order, dtype, and the offset of the values; None if more bytes
        are needed to tell.

    Raises:
        ValueError: It is damaged.
    """
    if len(data) < len(MAGIC) + 6:
        return None
    version = bytes(data[6:8])
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise ValueError("an unknown version of the format")
    begin = 10 if version == b"\x01\x00" else 12
    length = int.from_bytes(data[8:begin], "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    if len(data) < begin + length:
        return None
    try:
        fields = ast.literal_eval(bytes(data[begin : begin + length]).decode("latin1").strip())
        shape, fortran, dtype = fields["shape"], fields["fortran_order"], fields["descr"]
        dtype = np.dtype(dtype if isinstance(dtype, str) else [tuple(one) for one in dtype])
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("an unreadable header") from error
    if not isinstance(shape, tuple) or not all(type(one) is int and one >= 0 for one in shape):
        raise ValueError("a header without a shape")
    return shape, bool(fortran), dtype, begin + length


class BlockParser:
    """Bytes -> blocks: raw little-endian float32 snippets, or .npy blocks one after another.

    The first bytes tell which. Damaged .npy blocks are left out up to the next magic string. A
    block is judged by its header before anything is allocated for it.
    """

    def __init__(self, feature_dim: int) -> None:
        self._dim = feature_dim
        self._buffer = bytearray()
        self._is_npy: bool | None = None
        self._skip = 0  # bytes still to come of a block that is left out
        self._idle = 0  # looks in vain since the last bytes

    def feed(self, data: bytes) -> Iterator[Arrival]:
        """Take bytes; yield the blocks that are complete now."""
        self._buffer += data
        self._idle = 0
        if self._is_npy is None and len(self._buffer) >= len(MAGIC):
            self._is_npy = self._buffer.startswith(MAGIC)
        if self._is_npy:
            yield from self._npy_blocks()
        elif self._is_npy is not None:
            count = len(self._buffer) // (4 * self._dim)
            if count:
                used = self._take(4 * self._dim * count)
                yield Arrival(np.frombuffer(used, "<f4").reshape(count, -1))

    def idle(self) -> Arrival:
        """Take note of a look in vain; report part of a snippet that has waited for a second."""
        self._idle += 1
        if self._idle == _PATIENCE and self.unfinished():
            return Arrival(trouble=f"waiting with {self.unfinished()}")
        return NOTHING

    def unfinished(self) -> str:
        """Return what the bytes end in the middle of; "" if they end with a block."""
        if self._is_npy:
            left = self._buffer or self._skip
            return f"{len(self._buffer)} bytes of an unfinished .npy block" if left else ""
        if not self._buffer:
            return ""
        return (
            f"{len(self._buffer)} bytes of an unfinished snippet: raw snippets are "
            f"{4 * self._dim} bytes, {self._dim} float32; if yours have another width, send .npy "
            "blocks, which say their shape"
        )

    def _npy_blocks(self) -> Iterator[Arrival]:
        lost, reason = 0, ""
        while True:
            skipped = len(self._take(self._skip))
            self._skip -= skipped
            lost += self._drop_to_magic()
            try:
                header = read_header(self._buffer)
            except ValueError as error:
                lost, reason = lost + len(self._take(len(MAGIC))), reason or str(error)
                continue
            if header is not None and (problem := _unreadable(header)):
                lost, reason = lost + len(self._take(len(MAGIC))), reason or problem
                continue
            if lost:  # once for all that was left out, however many magic strings were in it
                why = f" ({reason})" if reason else ""
                text = f"{lost} bytes that are no .npy block left out{why}"
                yield Arrival(trouble=text, gap=True)
                lost, reason = 0, ""
            arrival = self._block(header) if header is not None else None
            if arrival is None:
                return
            if arrival.rows is None or len(arrival.rows):
                yield arrival

    def _drop_to_magic(self) -> int:
        """Drop what cannot belong to a block; return how many bytes."""
        start = self._buffer.find(MAGIC)
        if start < 0:  # the last bytes may be the beginning of a magic string
            keep = next(
                (n for n in range(len(MAGIC) - 1, 0, -1) if self._buffer.endswith(MAGIC[:n])), 0
            )
            start = len(self._buffer) - keep
        return len(self._take(start))

    def _block(self, header: Header) -> Arrival | None:
        """Return the block that the buffer begins with; None if more bytes are needed."""
        shape, fortran, dtype, begin = header
        size = math.prod(shape) * dtype.itemsize
        if refused := judge(shape, dtype, self._dim):
            self._take(begin)
            self._skip = size
            return refused
        if len(self._buffer) < begin + size:
            return None
        values = np.frombuffer(self._take(begin + size)[begin:], dtype)
        return Arrival(arrange(values, shape, fortran, self._dim))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def arrange(values: Array, shape: tuple[int, ...], fortran: bool, feature_dim: int) -> Array:
    """Return values in file order as snippets (n, D) or (D,)."""
    block = values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
    return block.reshape(snippet_shape(shape, feature_dim))


def _unreadable(header: Header) -> str:
    """Return why a block of this header cannot even be left out as one, "" if it can."""
    shape, _, dtype, _ = header
    if dtype.hasobject:
        return "an array of Python objects"
    if math.prod(shape) * dtype.itemsize > _MAX_BLOCK_BYTES or max(shape, default=0) >= 1 << 62:
        return f"a block of shape {shape}"
    return ""
