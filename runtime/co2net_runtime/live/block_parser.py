"""Bytes of a pipe or a socket -> blocks of snippets, each judged by its header first."""

from collections.abc import Iterator

import numpy as np

from co2net_runtime.files.npy import MAGIC, MAX_HEADER_BYTES, NpyHeader, parse_header, shaped
from co2net_runtime.files.text import number_of
from co2net_runtime.live.arrivals import NOTHING, Arrival, judge, snippet_shape

# a block that says it is larger is taken for damaged
_MAX_BLOCK_BYTES = 1 << 28
# looks in vain after which the beginning of a snippet is reported, about a second
_PATIENCE = 20
# bytes within which a header ends
_LOOKAHEAD = MAX_HEADER_BYTES + 12


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
        """Describe the snippet or block that the bytes break off in; "" if in none."""
        if self._is_npy:
            left = self._buffer or self._skip
            return (
                f"{number_of(len(self._buffer), 'byte')} of an unfinished .npy block"
                if left
                else ""
            )
        if not self._buffer:
            return ""
        return (
            f"{number_of(len(self._buffer), 'byte')} of an unfinished snippet: raw snippets are "
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
                header = parse_header(bytes(self._buffer[:_LOOKAHEAD]))
                if header is not None:
                    _check_readable(header)
            except ValueError as error:
                lost, reason = lost + len(self._take(len(MAGIC))), reason or str(error)
                continue
            if lost:  # once for all that was left out, however many magic strings were in it
                why = f" ({reason})" if reason else ""
                text = f"{number_of(lost, 'byte')} that are no .npy block left out{why}"
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

    def _block(self, header: NpyHeader) -> Arrival | None:
        """Return the block that the buffer begins with; None if more bytes are needed."""
        if refused := judge(header.shape, header.dtype, self._dim):
            self._take(header.offset)
            self._skip = header.nbytes
            return refused
        end = header.offset + header.nbytes
        if len(self._buffer) < end:
            return None
        block = shaped(header, self._take(end)[header.offset :])
        return Arrival(block.reshape(snippet_shape(block.shape, self._dim)))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _check_readable(header: NpyHeader) -> None:
    """Raise ValueError for a block that cannot even be left out as one."""
    if header.dtype.hasobject:
        raise ValueError("an array of Python objects")
    if header.nbytes > _MAX_BLOCK_BYTES:
        raise ValueError(f"a block of shape {header.shape}")
