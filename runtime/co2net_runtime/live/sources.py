"""Where a live stream's features come from: stdin, a growing file or folder, a socket."""

import io
import ipaddress
import os
import select
import socket
import sys
import threading
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError

POLL_S = 0.05
_READ_BYTES = 1 << 20
_MAGIC = b"\x93NUMPY"
# a block of .npy that says it is larger is taken for damaged
_MAX_BLOCK_BYTES = 1 << 28

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arrival:
    """What a source delivers: snippets (n, D) or (D,), or word of a trouble.

    gap: snippets may be lost before what comes next. failed: the source has ended by it.
    """

    rows: Array | None = None
    trouble: str = ""
    gap: bool = False
    failed: bool = False


# The source has looked and nothing was there. Silence is counted in these: a box too busy to look
# must not take its producer for dead.
NOTHING = Arrival()


class Source(Protocol):
    """A producer of features. `position`: snippets to leave out, where the source can go back."""

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives, and NOTHING now and then, until the source ends or `stop` is set."""


class Framing:
    """Bytes -> blocks: raw little-endian float32 snippets, or .npy blocks one after another.

    The first bytes tell which. Damaged .npy blocks are left out up to the next one's beginning.
    """

    def __init__(self, feature_dim: int) -> None:
        self._row_bytes = 4 * feature_dim
        self._buffer = b""
        self._npy: bool | None = None

    def feed(self, data: bytes) -> Iterator[Arrival]:
        """Take bytes; yield the blocks that are whole now."""
        self._buffer += data
        if self._npy is None and len(self._buffer) >= len(_MAGIC):
            self._npy = self._buffer.startswith(_MAGIC)
        if self._npy:
            yield from self._npy_blocks()
        elif self._npy is not None:
            count = len(self._buffer) // self._row_bytes
            if count:
                used = self._buffer[: count * self._row_bytes]
                self._buffer = self._buffer[len(used) :]
                yield Arrival(np.frombuffer(used, "<f4").reshape(count, -1))

    def end(self) -> str:
        """Return what is wrong with the end of the bytes; "" if nothing is."""
        return f"{len(self._buffer)} bytes of an unfinished snippet at the end" * bool(self._buffer)

    def _npy_blocks(self) -> Iterator[Arrival]:
        while self._buffer:
            start = self._buffer.find(_MAGIC)
            if start:
                lost = len(self._buffer) - len(_MAGIC) + 1 if start < 0 else start
                if lost <= 0:
                    return
                self._buffer = self._buffer[lost:]
                yield Arrival(trouble=f"{lost} bytes that are no .npy block left out", gap=True)
                continue
            try:
                block = self._read_block()
            except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
                self._buffer = self._buffer[len(_MAGIC) :]
                yield Arrival(trouble=f"a damaged .npy block ({error})", gap=True)
                continue
            if block is None:
                return
            yield Arrival(block)

    def _read_block(self) -> Array | None:
        stream = io.BytesIO(self._buffer)
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
        except ValueError as error:
            if "EOF" in str(error) and len(self._buffer) < _READ_BYTES:
                return None
            raise
        if dtype.hasobject or fortran:
            raise ValueError(f"dtype {dtype}{', Fortran order' * fortran}")
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not 0 <= size <= _MAX_BLOCK_BYTES:
            raise ValueError(f"a block of shape {shape}")
        end = stream.tell() + size
        if len(self._buffer) < end:
            return None
        block = np.frombuffer(self._buffer[stream.tell() : end], dtype).reshape(shape)
        self._buffer = self._buffer[end:]
        return block


class StdinSource:
    """Raw float32 snippets or .npy blocks on standard input."""

    def __init__(self, feature_dim: int) -> None:
        self._framing = Framing(feature_dim)

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:  # noqa: ARG002  # a pipe cannot go back
        """Yield what arrives until the source ends or `stop` is set."""
        descriptor = sys.stdin.buffer.fileno()
        while not stop.is_set():
            if not select.select([descriptor], [], [], POLL_S)[0]:
                yield NOTHING
                continue
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                if self._framing.end():
                    yield Arrival(trouble=self._framing.end(), failed=True)
                return
            yield from self._framing.feed(data)


class GrowingFile:
    """A .npy file (T, D) that is appended to; whatever T its header says, its size decides."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives until the source ends or `stop` is set."""
        while not self._path.is_file() or not self._path.stat().st_size:
            yield NOTHING
            if stop.wait(POLL_S):
                return
        try:
            with self._path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                if version != (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(file)
                if len(shape) != 2 or dtype.kind != "f" or fortran or not shape[1]:
                    raise ValueError(f"shape {shape}, dtype {dtype}")
                width, begin = shape[1], file.tell()
                row_bytes = width * dtype.itemsize
                while not stop.is_set():
                    count = (os.fstat(file.fileno()).st_size - begin) // row_bytes - position
                    if count < 0:
                        yield Arrival(trouble=f"{self._path}: shorter than before", failed=True)
                        return
                    if not count:
                        yield NOTHING
                        stop.wait(POLL_S)
                        continue
                    file.seek(begin + position * row_bytes)
                    data = file.read(min(count, max(1, _READ_BYTES // row_bytes)) * row_bytes)
                    rows = np.frombuffer(data, dtype).reshape(-1, width)
                    position += len(rows)
                    yield Arrival(rows)
        except (ValueError, OSError) as error:
            text = f"{self._path}: expected a .npy of floating-point rows (T, D): {error}"
            yield Arrival(trouble=text, failed=True)


class GrowingFolder:
    """A folder in which .npy files (n, D) or (D,) appear, in the order of their names.

    Write each under another suffix first and rename it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives until the source ends or `stop` is set."""
        last = ""
        while not stop.is_set():
            names = (
                sorted(file.name for file in self._path.iterdir() if file.suffix == ".npy")
                if self._path.is_dir()
                else []
            )
            fresh = [name for name in names if name > last]
            for name in fresh:
                try:
                    rows = np.atleast_2d(np.load(self._path / name, allow_pickle=False))
                except (ValueError, OSError, EOFError) as error:
                    yield Arrival(trouble=f"{self._path / name}: left out: {error}", gap=True)
                    continue
                left_out = min(position, len(rows))
                position -= left_out
                if len(rows) > left_out:
                    yield Arrival(rows[left_out:])
            last = fresh[-1] if fresh else last
            if not fresh:
                yield NOTHING
                stop.wait(POLL_S)


class ListeningSocket:
    """A Unix or TCP socket on loopback that one producer at a time connects to.

    A producer that breaks off may connect again: a gap lies between.
    """

    def __init__(self, address: str | tuple[str, int], feature_dim: int) -> None:
        self._dim = feature_dim
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if not isinstance(address, str) and ":" in address[0]:
            family = socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if isinstance(address, str):
                _remove_stale(Path(address))
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(1)
        except OSError as error:
            self._socket.close()
            raise InputError(f"{address}: cannot listen there: {error.strerror}") from error
        self._socket.settimeout(POLL_S)
        self.address = self._socket.getsockname()

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:  # noqa: ARG002  # a socket cannot go back
        """Yield what arrives until the source ends or `stop` is set."""
        try:
            while not stop.is_set():
                try:
                    connection, _ = self._socket.accept()
                except TimeoutError:
                    yield NOTHING
                    continue
                with connection:
                    yield from self._read(connection, stop)
        finally:  # also when the reader leaves off in the middle
            self._socket.close()
            if isinstance(self.address, str):
                Path(self.address).unlink(missing_ok=True)

    def _read(self, connection: socket.socket, stop: threading.Event) -> Iterator[Arrival]:
        framing = Framing(self._dim)
        connection.settimeout(POLL_S)
        while not stop.is_set():
            try:
                data = connection.recv(_READ_BYTES)
            except TimeoutError:
                yield NOTHING
                continue
            except OSError as error:
                yield Arrival(trouble=f"the producer broke off: {error.strerror}", gap=True)
                return
            if not data:
                unfinished = f" ({framing.end()})" if framing.end() else ""
                text = f"the producer has closed the connection{unfinished}; waiting for another"
                yield Arrival(trouble=text, gap=True)
                return
            yield from framing.feed(data)


def open_source(text: str, feature_dim: int) -> Source:
    """Return the source that "-", FILE.npy, FOLDER, unix:PATH or tcp:HOST:PORT names.

    Raises InputError for anything else, a host that is not this machine, or a taken address.
    """
    if text == "-":
        return StdinSource(feature_dim)
    kind, colon, rest = text.partition(":")
    if colon and kind == "unix":
        return ListeningSocket(rest, feature_dim)
    if colon and kind == "tcp":
        host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        try:
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise InputError(
                    f"{text}: sockets are for producers on this machine: listen on 127.0.0.1"
                )
            return ListeningSocket((host, int(port)), feature_dim)
        except ValueError as error:
            raise InputError(f"{text}: expected tcp:127.0.0.1:PORT") from error
    path = Path(text)
    if path.suffix == ".npy":
        return GrowingFile(path)
    if path.is_dir():
        return GrowingFolder(path)
    raise InputError(f"{text}: expected -, FILE.npy, a folder, unix:PATH or tcp:127.0.0.1:PORT")


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed process left; one that somebody listens on stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
