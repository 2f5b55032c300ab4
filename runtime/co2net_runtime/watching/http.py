"""GET /metrics and /healthz of a live process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from co2net_runtime.errors import InputError

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def serve_http(
    address: str, metrics: Callable[[], str], trouble: Callable[[], str]
) -> Iterator[tuple[str, int]]:
    """Serve in a thread for the length of a `with` block; yield the address it listens on.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        metrics: Returns the text of /metrics.
        trouble: Returns why /healthz answers 503; "" answers 200.

    Raises:
        InputError: It is no address, or is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, metrics())
            elif self.path == "/healthz":
                found = trouble()
                self._answer(503 if found else 200, f"{found or 'ok'}\n")
            else:
                self._answer(404, "there are /metrics and /healthz\n")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            pass

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--http {address}: expected HOST:PORT, as 127.0.0.1:9100")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except OSError as error:
        raise InputError(f"--http {address}: cannot listen there: {error.strerror}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield str(server.server_address[0]), server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
