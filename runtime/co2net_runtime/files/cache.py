"""The cache folder: made once per machine, may be deleted at any time."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "CO2NET_CACHE"


def cache_folder(chosen: str | os.PathLike[str] | None = None) -> Path:
    """Return `chosen`, else $CO2NET_CACHE, else co2net in the user's cache folder."""
    if chosen is not None:
        return Path(chosen)
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "co2net"


def unusable(folder: Path) -> str:
    """Create the folder; return why nothing can be written there, "" if all is well."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def slug(text: str) -> str:
    """Return the text as a part of a file name: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that one process works while the others wait.

    Raises OSError if the file cannot be made.
    """
    with path.open("ab") as file:
        if sys.platform != "win32":  # there, two processes may do the work twice, each whole
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
