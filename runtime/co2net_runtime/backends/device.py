"""Which processor: cpu, cuda:0, gpu; and the GPUs that the NVIDIA driver reports."""

import ctypes
import functools
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from co2net_runtime.errors import InputError

DeviceKind = Literal["cpu", "cuda", "gpu"]

# CUdevice_attribute in the CUDA driver API
CAPABILITY_MAJOR, CAPABILITY_MINOR, MULTIPROCESSORS = 75, 76, 16

# After these errors of CUDA's each later call of the process fails: an illegal address, a launch
# that timed out or failed, a destroyed context, an assertion, bad instructions, unknown
STICKY = frozenset({700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999})
LOST = "the GPU is lost to this process: start the program again"


@dataclass(frozen=True)
class Device:
    """One processor. "gpu" is OpenVINO's name for an Intel GPU, "cuda" an NVIDIA GPU."""

    kind: DeviceKind
    index: int = 0

    @staticmethod
    def parse(text: str) -> "Device":
        """Read "cpu", "cuda" (the first), "cuda:1", "gpu".

        Raises InputError for anything else.
        """
        kind, colon, index = text.partition(":")
        known = get_args(DeviceKind)
        if kind not in known or (colon and not (index.isdecimal() and kind != "cpu")):
            raise InputError(f"device {text!r}: expected auto, cpu, cuda, cuda:N or gpu")
        return Device(cast(DeviceKind, kind), int(index or 0))

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as its driver describes it."""

    index: int  # as in cuda:0
    name: str
    capability: tuple[int, int]  # compute capability: major, minor
    # the driver calls every Jetson of a generation by one name; these two tell them apart
    memory_bytes: int
    multiprocessors: int = 0

    @property
    def compute_capability(self) -> str:
        """The compute capability as NVIDIA writes it, "8.7"."""
        return f"{self.capability[0]}.{self.capability[1]}"


def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that the driver lets this process use; none without a driver."""
    driver = load_driver()
    count = ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_tegra(
    text: Callable[[str], str] = _text, exists: Callable[[str], bool] = os.path.exists
) -> bool:
    """Return whether this is a Jetson, seen from inside a container, too.

    There /etc/nv_tegra_release is missing. The arguments are how files are looked at.
    """
    return (
        text("/etc/nv_tegra_release").startswith("# R")
        or "nvidia,tegra" in text("/proc/device-tree/compatible")
        or (platform.machine() == "aarch64" and exists("/dev/nvmap"))
    )


def driver_cuda_version() -> tuple[int, int] | None:
    """Return the newest CUDA version that the installed driver runs; None without a driver."""
    driver = load_driver()
    version = ctypes.c_int()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def free_memory(index: int) -> int | None:
    """Return the bytes free on a GPU; None where the driver does not say."""
    driver = load_driver()
    context, handle = ctypes.c_void_p(), ctypes.c_int()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver is None or driver.cuDeviceGet(ctypes.byref(handle), index) != 0:
        return None
    # the question needs a context, and this is the one that engines use
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle) != 0:
        return None
    try:
        driver.cuCtxPushCurrent_v2(context)
        code = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(handle)
    return None if code else free.value


def driver_error() -> str:
    """Return the reason that the NVIDIA driver does not answer, "" if it does."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return str(error)
    code = driver.cuInit(0)
    return f"cuInit returns error {code}" if code else ""


@functools.cache
def load_driver() -> ctypes.CDLL | None:
    """Return the NVIDIA driver's library, started; None where there is none that answers."""
    return None if driver_error() else ctypes.CDLL("libcuda.so.1")


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    handle = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    major, minor, processors = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(processors), MULTIPROCESSORS, handle)
    return Gpu(
        index,
        name.value.decode(),
        (major.value, minor.value),
        memory.value,
        processors.value,
    )


def is_arm() -> bool:
    """Return whether this machine's processor is a 64-bit Arm."""
    return platform.machine().lower() in ("aarch64", "arm64")
