"""Streams from a Unix or a TCP socket on loopback."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from co2net_runtime.errors import InputError
from co2net_runtime.live.arrivals import NOTHING, POLL_S, Arrival
from co2net_runtime.live.block_parser import BlockParser

READ_BYTES = 1 << 20


class ListeningSocket:
    """A Unix or TCP socket on loopback that one producer at a time connects to.

    A producer that breaks off may connect again: a gap lies between.
    """

    def __init__(self, address: str | tuple[str, int], feature_dim: int) -> None:
        """Listen. Raises InputError if the address is taken or cannot be listened on."""
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
            raise InputError(
                f"{address}: cannot listen there: {error.strerror or error}"
            ) from error
        self._socket.settimeout(POLL_S)
        self.address = self._socket.getsockname()

    @staticmethod
    def unix(path: str, feature_dim: int) -> "ListeningSocket":
        """Listen on unix:PATH. Raises InputError if that is impossible."""
        if not path or "\0" in path:
            raise InputError(f"unix:{path}: expected unix:PATH, a file name for the socket")
        return ListeningSocket(path, feature_dim)

    @staticmethod
    def tcp(address: str, feature_dim: int) -> "ListeningSocket":
        """Listen on tcp:HOST:PORT. Raises InputError unless HOST is loopback."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        expected = InputError(f"tcp:{address}: expected tcp:127.0.0.1:PORT, PORT from 1 to 65535")
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise expected
        try:
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise InputError(
                    f"tcp:{address}: sockets are for producers on this machine: listen on 127.0.0.1"
                )
        except ValueError:
            raise expected from None
        return ListeningSocket((host, int(port)), feature_dim)

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:  # noqa: ARG002  # a socket cannot go back
        """Yield what arrives until `stop` is set."""
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
        parser = BlockParser(self._dim)
        connection.settimeout(POLL_S)
        while not stop.is_set():
            try:
                data = connection.recv(READ_BYTES)
            except TimeoutError:
                yield parser.idle()
                continue
            except OSError as error:
                yield Arrival(
                    trouble=f"the producer broke off: {error.strerror}", gap=True, disconnected=True
                )
                return
            if not data:
                unfinished = f" ({parser.unfinished()})" if parser.unfinished() else ""
                text = f"the producer has closed the connection{unfinished}; waiting for another"
                yield Arrival(trouble=text, gap=True, disconnected=True)
                return
            yield from parser.feed(data)


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed process left; one that somebody listens on stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
