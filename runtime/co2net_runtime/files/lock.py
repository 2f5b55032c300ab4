"""Exclusive use of a folder or file by one process at a time."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from co2net_runtime.errors import InputError

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def exclusive(lock: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold the lock file `lock`, or refuse if another process holds it.

    The kernel releases the lock when its process ends, however it ends; the file stays and does
    not block a later start. Where the file system knows no locks, a warning is logged. On Windows
    nothing is locked.

    Args:
        lock: The lock file; it is made if needed and holds the process id of its holder.
        what: What is used, for the error: "the run in runs/a".

    Raises:
        InputError: Another process holds the lock (its id is named), or the file cannot be made.

    Example:
        with exclusive(folder / ".lock", f"the run in {folder}"):
            ...
    """
    path = Path(lock)
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InputError(f"{path}: cannot write here: {error.strerror}") from error
    with file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
                raise InputError(
                    f"{what} is in use by process {holder}: wait until it ends, or stop it"
                ) from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                logging.getLogger(__name__).warning(
                    "%s: this file system has no locks: make sure that no other process uses %s",
                    path, what,
                )  # fmt: skip
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield
