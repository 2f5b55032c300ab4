"""What is there under the name of an input file."""

import os
from pathlib import Path

from co2net_runtime.errors import InputError


def require_file(path: str | os.PathLike[str], hint: str = "") -> Path:
    """Return the path of a regular file that is there.

    Args:
        path: The file.
        hint: What follows the error's text.

    Raises:
        InputError: It is missing, a folder, or no regular file, or its name cannot be one.
    """
    # unlike Path's, os.path's tests answer also for names that the system refuses
    if os.path.isfile(path):  # noqa: PTH113
        return Path(path)
    if os.path.isdir(path):  # noqa: PTH112
        raise InputError(f"{path}: a folder, expected a file{hint}")
    if os.path.exists(path):  # noqa: PTH110
        raise InputError(f"{path}: a device, pipe or socket, expected a file{hint}")
    raise InputError(f"{path}: no such file{hint}")
