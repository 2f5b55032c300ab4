"""Where the features of a live stream come from: stdin, a growing file or folder, a socket."""

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from co2net_runtime.errors import InputError
from co2net_runtime.files.npy import NpyHeader, check_not_cut, map_npy, parse_header
from co2net_runtime.live.arrivals import NOTHING, POLL_S, Arrival, Source, judge, snippet_shape
from co2net_runtime.live.block_parser import BlockParser
from co2net_runtime.live.sockets import READ_BYTES, ListeningSocket

# scheme of SCHEME:REST -> what opens REST for snippets of a width; a new kind is a line here
SCHEMES: dict[str, Callable[[str, int], Source]] = {
    "unix": ListeningSocket.unix,
    "tcp": ListeningSocket.tcp,
}


def open_source(text: str, feature_dim: int) -> Source:
    """Return the source that "-", FILE.npy, FOLDER or SCHEME:REST names.

    Raises:
        InputError: It names nothing, stdin is closed, or an address cannot be listened on.
    """
    if text == "-":
        return StdinSource(feature_dim)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        return SCHEMES[scheme](rest, feature_dim)
    path = Path(text)
    if path.is_dir():
        return GrowingFolder(path, feature_dim)
    if path.suffix == ".npy":
        return GrowingFile(path, feature_dim)
    raise InputError(
        f"{text}: expected -, FILE.npy, a folder that exists, unix:PATH or tcp:127.0.0.1:PORT; or "
        "video: rtsp://HOST/NAME or another URL, /dev/videoN, or play:FILE"
    )


class StdinSource:
    """Raw float32 snippets or .npy blocks on standard input."""

    def __init__(self, feature_dim: int) -> None:
        if sys.stdin is None:
            raise InputError("-: stdin is closed")
        self._parser = BlockParser(feature_dim)

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:  # noqa: ARG002  # a pipe cannot go back
        """Yield what arrives until the source ends or `stop` is set."""
        descriptor = sys.stdin.buffer.fileno()
        while not stop.is_set():
            if not select.select([descriptor], [], [], POLL_S)[0]:
                yield self._parser.idle()
                continue
            data = os.read(descriptor, READ_BYTES)
            if not data:
                if unfinished := self._parser.unfinished():
                    yield Arrival(trouble=f"the end cuts off {unfinished}", failed=True)
                return
            yield from self._parser.feed(data)


class GrowingFile:
    """A .npy file (T, D) that is appended to; its size says how many snippets, not its header."""

    def __init__(self, path: Path, feature_dim: int) -> None:
        self._path, self._dim = path, feature_dim

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives until the source fails or `stop` is set."""
        if not self._path.exists():
            yield Arrival(trouble=f"{self._path}: no such file yet; waiting for it")
        try:
            header = None
            while header is None:
                if stop.is_set():
                    return
                header = self._header()
                if header is None:
                    yield NOTHING
                    stop.wait(POLL_S)
            with self._path.open("rb") as file:
                begin, dtype = header.offset, header.dtype
                row_bytes = self._dim * dtype.itemsize
                while not stop.is_set():
                    count = (os.fstat(file.fileno()).st_size - begin) // row_bytes - position
                    if count < 0:
                        raise ValueError("shorter than before")
                    if not count:
                        yield NOTHING
                        stop.wait(POLL_S)
                        continue
                    file.seek(begin + position * row_bytes)
                    data = file.read(min(count, max(1, READ_BYTES // row_bytes)) * row_bytes)
                    data = data[: len(data) // row_bytes * row_bytes]  # cut off just now
                    rows = np.frombuffer(data, dtype).reshape(-1, self._dim)
                    position += len(rows)
                    yield Arrival(rows)
        except ValueError as error:
            yield Arrival(trouble=f"{self._path}: {error}", failed=True)
        except OSError as error:
            yield Arrival(trouble=f"{self._path}: {error.strerror}", failed=True)

    def _header(self) -> NpyHeader | None:
        """Return the header; None until it is there. Raises ValueError if it cannot be used."""
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            data = file.read(1 << 17)
        header = parse_header(data)
        if header is None:
            return None
        if len(header.shape) != 2:
            raise ValueError(f"expected snippets (T, D), found shape {header.shape}")
        if problem := judge(header.shape, header.dtype, self._dim):
            raise ValueError(problem.trouble)
        if header.fortran_order:
            raise ValueError(
                "in Fortran order, in which a file cannot grow: write "
                "np.ascontiguousarray(features)"
            )
        return header


class GrowingFolder:
    """A folder in which .npy files (n, D) or (D,) appear, in the order of their names.

    Write each under another suffix first and rename it. Names that begin with a dot are left out.
    """

    def __init__(self, path: Path, feature_dim: int) -> None:
        self._path, self._dim = path, feature_dim

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives until `stop` is set."""
        last = ""
        while not stop.is_set():
            fresh = [name for name in self._names() if name > last]
            for name in fresh:
                for arrival in self._read(name):
                    count = arrival.missing if arrival.rows is None else len(arrival.rows)
                    if not position:
                        yield arrival
                    elif arrival.rows is not None and count > position:
                        yield Arrival(arrival.rows[position:])
                    position = max(0, position - count)
            last = fresh[-1] if fresh else last
            if not fresh:
                yield NOTHING
                stop.wait(POLL_S)

    def _names(self) -> list[str]:
        try:
            names = [file.name for file in self._path.iterdir()]
        except OSError:  # removed: it may come back
            return []
        return sorted(n for n in names if n.endswith(".npy") and not n.startswith("."))

    def _read(self, name: str) -> Iterator[Arrival]:
        """Yield the snippets of one file, about READ_BYTES at a time."""
        path = self._path / name
        try:
            array = map_npy(path)
            check_not_cut(array, str(path))
        except InputError as error:
            yield Arrival(trouble=f"left out: {error}", gap=True)
            return
        if refused := judge(array.shape, array.dtype, self._dim):
            yield Arrival(trouble=f"{path}: {refused.trouble}", missing=refused.missing)
            return
        rows = array.reshape(snippet_shape(array.shape, self._dim)).reshape(-1, self._dim)
        step = max(1, READ_BYTES // (self._dim * rows.dtype.itemsize))
        for begin in range(0, len(rows), step):
            yield Arrival(np.array(rows[begin : begin + step]))
