"""Digests of files that several parts of a process ask for: each file is read once."""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from co2net_runtime.files.atomic import sha256

if TYPE_CHECKING:
    from concurrent.futures import Future

_digests: dict[tuple[int, ...], "Future[str]"] = {}
_lock = threading.Lock()


def begin_sha256(path: str | os.PathLike[str]) -> Callable[[], str]:
    """Begin to hash a file in a thread; the result waits for the digest.

    A file that this process has begun to hash is not read again, unless it has changed since.

    The result raises OSError if the file cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    with _lock:
        key = _state(path)
        if key is not None and key in _digests:
            return _digests[key].result
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="co2net-sha256")
        digest = thread.submit(sha256, path)
        thread.shutdown(wait=False)
        if key is not None:
            _digests[key] = digest
    return digest.result


def _state(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Return what changes when the file does; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # str or PathLike
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
