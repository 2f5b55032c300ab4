"""This machine's packages, libraries, GPUs and Jetson files: looked at, never changed."""

import contextlib
import ctypes
import importlib
import importlib.metadata
import mmap
import os
import shutil
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from co2net_runtime.backends.device import (
    Gpu,
    driver_cuda_version,
    driver_error,
    free_memory,
    gpus,
)
from co2net_runtime.backends.ort.backend import preload_cuda
from co2net_runtime.backends.ort.module import import_onnxruntime, load_onnxruntime
from co2net_runtime.backends.trt.api import preload_tensorrt
from co2net_runtime.errors import Co2netError

GIB = 1 << 30

Status = Literal["ok", "warn", "fail"]

FATBIN_MAGIC = struct.pack("<I", 0xBA55ED50)


@dataclass(frozen=True)
class Check:
    """One line of co2net-doctor's report."""

    name: str
    status: Status
    found: str
    fix: str = ""  # a command, "" where nothing is to be done


class Machine:
    """The questions that co2net-doctor asks of the machine; tests replace it."""

    def packages(self) -> dict[str, str]:
        """Return version by name, lower case, of every installed distribution."""
        return {
            (distribution.metadata["Name"] or "").lower(): distribution.version
            for distribution in importlib.metadata.distributions()
        }

    def module(self, name: str) -> ModuleType:
        """Import a module. Raises ImportError or OSError where that fails."""
        return import_onnxruntime() if name == "onnxruntime" else importlib.import_module(name)

    def imports(self, name: str) -> bool:
        """Return whether a module imports."""
        try:
            self.module(name)
        except (ImportError, OSError):
            return False
        return True

    def library_error(self, name: str) -> str:
        """Load a shared library; return what keeps it from loading, "" if nothing does."""
        try:
            ctypes.CDLL(name)
        except OSError as error:
            return str(error)
        return ""

    def preload_cuda(self) -> None:
        """Load the libraries that pip installed where the system's loader does not look."""
        with contextlib.suppress(Co2netError):  # said by the check of onnxruntime
            preload_cuda(load_onnxruntime())
        preload_tensorrt()

    def text(self, path: str) -> str:
        """Return the content of a text file, "" where there is none."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def exists(self, pattern: str) -> bool:
        """Return whether a file of that absolute glob pattern is there."""
        return any(Path("/").glob(pattern.lstrip("/")))

    def python(self) -> tuple[int, int]:
        """Return the version of the Python that runs."""
        return sys.version_info[:2]

    def may_use(self, path: str) -> bool:
        """Return whether this process may read and write a file."""
        return os.access(path, os.R_OK | os.W_OK)

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the NVIDIA GPUs."""
        return gpus()

    def gpu_free(self, gpu: Gpu) -> int | None:
        """Return the bytes free on the GPU; None where that cannot be told."""
        return free_memory(gpu.index)

    def driver_cuda(self) -> tuple[int, int] | None:
        """Return the newest CUDA that the NVIDIA driver runs; None without a driver."""
        return driver_cuda_version()

    def driver_error(self) -> str:
        """Return the reason that the NVIDIA driver does not answer, "" if it does."""
        return driver_error()

    def cpus(self) -> int:
        """Return how many cores this process may use."""
        if sys.platform == "linux":
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def free_disk(self, folder: Path) -> int:
        """Return the bytes free where the folder is, or will be."""
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return shutil.disk_usage(folder).free


def kernel_architectures(library: Path) -> set[int]:
    """Return the compute capabilities, as 87 for 8.7, that a CUDA library has machine code for.

    It reads the headers of the fat binaries in the file. Raises OSError if it cannot be read.
    """
    found: set[int] = set()
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        at = content.find(FATBIN_MAGIC)
        while at >= 0:
            end = at + 4
            if at + 16 <= len(content):
                version, head, size = struct.unpack_from("<HHQ", content, at + 4)
                if version == 1 and head == 16 and at + 16 + size <= len(content):
                    end = at + 16 + size
                    found |= _entries(content, at + 16, end)
            at = content.find(FATBIN_MAGIC, end)
    return found


def runs_on(architectures: Sequence[int] | set[int], gpu: Gpu, *, tegra: bool) -> bool:
    """Return whether machine code for these compute capabilities runs on the GPU.

    Within a major version newer desktop GPUs run code of older ones; a Jetson runs only its own.
    """
    major, minor = gpu.capability
    if tegra:
        return 10 * major + minor in architectures
    return any(one // 10 == major and one % 10 <= minor for one in architectures)


def _entries(content: mmap.mmap, at: int, end: int) -> set[int]:
    """Return the capabilities of one fat binary's machine code (kind 2; kind 1 is PTX)."""
    found = set()
    while at + 32 <= end:
        kind, _, head, size = struct.unpack_from("<HHIQ", content, at)
        (capability,) = struct.unpack_from("<I", content, at + 28)
        if kind == 2:
            found.add(capability)
        if head == 0:
            break
        at += head + size
    return found
