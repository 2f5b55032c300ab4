"""Files appear whole or not at all: written under a temporary name beside them, then renamed."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from co2net_runtime.errors import InputError
from co2net_runtime.files.lock import try_lock

# .NAME.XXXXXXXX
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-z_]{8}")

# a file's name may have 255 bytes
_NAME_BYTES = 240

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to it, else removed.

    File and folder are synchronized to the disk, so that the file is whole after a power cut too.

    Args:
        path: The file to write. Its folder must exist; a file there is replaced.

    Raises:
        InputError: The folder cannot be written, or the disk is full.

    Example:
        with atomic_path("m.onnx") as temporary:
            onnx.save(model, temporary)
    """
    target = Path(path)
    name = os.fsdecode(os.fsencode(target.name)[:_NAME_BYTES])
    temporary = target.parent / f".{name}.{secrets.token_hex(4)}"
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise InputError(f"{target}: cannot write here: {error.strerror}") from error
    try:
        # locked: not a leftover for sweep_temporaries
        try_lock(handle)
        yield temporary
        _sync(temporary)
        if os.name == "nt":  # where an open file cannot be renamed
            os.close(handle)
            handle = -1
        temporary.replace(target)
        _sync(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # numpy's error of a full disk has no number
        if isinstance(error, OSError) and error.errno in (*_FULL, None):
            raise InputError(f"{target}: cannot write: {error.strerror or error}") from error
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def sweep_temporaries(folder: str | os.PathLike[str], name: str | None = None) -> None:
    """Remove the temporaries that killed processes left in a folder; those in use stay.

    Args:
        folder: The folder; one that is missing is fine.
        name: Only the temporaries of the file of this name; None: of all files, for a folder that
            holds nothing but files of ours.
    """
    with contextlib.suppress(OSError):
        for file in list(Path(folder).iterdir()):
            match = _TEMPORARY.fullmatch(file.name)
            if match and name in (None, match[1]) and file.is_file():
                with contextlib.suppress(OSError):
                    _remove_unused(file)


def output_file(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Check, before long work, that a file can be written: the rule of all commands.

    Its folder is created, and leftovers of killed processes are swept.

    Args:
        path: The file to write.
        overwrite: Whether a file that is there may be replaced.

    Returns:
        The path.

    Raises:
        InputError: It exists and `overwrite` is not given, it is a folder, or its folder cannot be
            written.
    """
    file = Path(path)
    if file.is_dir():
        raise InputError(f"{file}: a folder, expected the name of a file to write")
    if file.exists() and not overwrite:
        raise InputError(f"{file}: exists already: choose another name or pass --overwrite")
    output_folder(file.parent)
    sweep_temporaries(file.parent, file.name)
    return file


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


def _sync(path: Path) -> None:
    """Flush the file or folder to disk."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # not every file system can
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)


def _remove_unused(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        try_lock(handle)
        file.unlink()
    finally:
        os.close(handle)
