"""The environment of a run: versions, commit, device."""

import platform
import subprocess
import sys
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from co2net.training.devices import describe_device
from co2net.training.distributed import ProcessGroup
from co2net_runtime.version import VERSION


def describe_environment(group: ProcessGroup) -> dict[str, Any]:
    """Return the environment as plain values."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "co2net": VERSION,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": describe_device(group.device),
        "threads": torch.get_num_threads(),
        "processes": group.size,
    }


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout that this program runs from, "-dirty" if files changed.

    None if it runs from an installation or git does not answer.
    """
    folder = Path(__file__).parent
    # an installation may lie inside someone's repository without belonging to it
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
