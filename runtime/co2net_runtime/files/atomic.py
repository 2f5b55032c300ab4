"""Files appear whole or not at all: write to a temporary name in the same folder, then rename."""

import errno
import glob
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from co2net_runtime.errors import InputError


# the device failed, not the program: full disk, quota, file size limit, input/output error
_DEVICE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The content reaches the disk before the name does, so a power cut leaves the former file or
    the new one, whole.

    Raises InputError if the folder cannot be written or the disk is full.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise InputError(f"{target}: cannot write here: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; a result is as readable as any other new file
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in _DEVICE_ERRORS:
            raise
        before = ", the former file is kept" if target.exists() else ""
        raise InputError(f"{target}: cannot write it: {error.strerror}{before}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_temporaries(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Remove what killed processes left of `atomic_path` for the files called `names` in a folder.

    Only for who is alone in the folder: another process may be writing such a file right now.
    """
    for name in names:
        for file in Path(folder).glob(f".{glob.escape(name)}.*"):
            file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if path.is_dir() and sys.platform == "win32":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without fsync
            raise
    finally:
        os.close(handle)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically. Raises InputError if the folder cannot be written."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def output_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder (and its parents) and check that it can be written, before long work.

    Raises InputError if it cannot.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot write here: {error.strerror}") from error
    return folder


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the file as hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def begin_sha256(path: str | os.PathLike[str]) -> Callable[[], str]:
    """Begin to hash a file in a thread; the result waits for the digest.

    The result raises OSError if the file cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="co2net-sha256")
    digest = thread.submit(sha256, path)
    thread.shutdown(wait=False)
    return digest.result


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
