"""One process at a time writes to a folder or a file; a second one is told who holds it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from co2net_runtime.errors import InputError


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold `path`, a folder or a file yet to be written, for the length of a `with` block.

    The lock is the file PATH/.lock of a folder, .NAME.lock beside a file. It goes with the process
    however that ends, so a leftover file never blocks. Windows and file systems without locks
    offer no protection.

    Args:
        path: The folder, which must exist, or the file, whose folder must exist.

    Raises:
        InputError: Another process holds the lock (its process id is named), or the lock file
            cannot be written.

    Example:
        with lock(run_folder):
            train(...)
    """
    target = Path(path)
    file = lock_file(target)
    try:
        handle = _open(file)
    except BlockingIOError:
        raise InputError(f"{target}: in use by {_holder(file)}: wait for it or stop it") from None
    except OSError as error:
        raise InputError(f"{target}: cannot write here: {error.strerror}") from error
    try:
        yield
    finally:
        # removed while held: whoever waits for the old file finds that it has gone
        with contextlib.suppress(OSError):
            file.unlink()
        os.close(handle)


def lock_file(path: Path) -> Path:
    """Return the file that `lock(path)` makes."""
    return path / ".lock" if path.is_dir() else path.parent / f".{path.name[:200]}.lock"


def try_lock(handle: int) -> None:
    """Lock an open file until it is closed.

    Raises BlockingIOError if another process, or another opening of the file, holds it.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # a file system without locks, as some of clusters are: unprotected is better than unusable
        return


def _open(file: Path) -> int:
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try_lock(handle)
            if sys.platform == "win32" or _is_at(handle, file):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        # its former holder removed it between our opening and our locking
        os.close(handle)


def _is_at(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    try:
        return f"process {int(file.read_bytes()[:20])}"
    except (OSError, ValueError):
        return "another process"
