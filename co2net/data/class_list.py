"""Files that list class names."""

import os
from pathlib import Path

from co2net_runtime.errors import InputError


def read_class_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a text file, one a line, in training order; blank lines are skipped.

    Raises InputError if the file is missing, empty or no UTF-8 text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot read the class list: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a text file with one class name a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise InputError(f"{path}: expected one class name a line, found none")
    return names
