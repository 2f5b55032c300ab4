"""The machine behind a figure: processor, memory, clocks, versions, accelerators."""

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from co2net_benchmarks.hardware.jetson import Jetson, read_jetson

PACKAGES = (
    "co2net",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "torch",
    "openvino",
    "tensorrt",
)


@dataclass(frozen=True)
class Machine:
    """The machine and the programs behind a run; no host or user name is kept."""

    system: str
    architecture: str
    cpu: str  # model
    cpus: int  # logical processors that this process may use
    memory_bytes: int | None
    governor: str | None  # of processor 0's clock; None where the system does not say
    hypervisor: bool | None  # whether the processor says that it is virtual
    load_1m: float | None  # load average of the last minute when the measurement began
    versions: dict[str, str]  # of Python and of the packages that are installed
    gpus: tuple[str, ...] = ()  # name, driver, memory
    jetson: Jetson | None = None

    def differences(self, other: "Machine") -> list[str]:
        """Return the reasons why the other machine's figures do not compare, as lines of text."""
        names = ("architecture", "cpu", "cpus", "gpus", "governor")
        return [
            f"{name}: {getattr(self, name)} against {getattr(other, name)}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


def describe_machine(root: Path = Path("/")) -> Machine:
    """Return the facts of this machine. root: the folder that holds proc, sys and etc."""
    cpu_info = _read(root / "proc/cpuinfo")
    governor = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu=_field(cpu_info, "model name") or platform.processor() or platform.machine(),
        cpus=_usable_cpus(),
        memory_bytes=_memory_bytes(_read(root / "proc/meminfo")),
        governor=governor or None,
        hypervisor="hypervisor" in _field(cpu_info, "flags").split() if cpu_info else None,
        load_1m=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions={"python": platform.python_version(), **_installed_versions()},
        gpus=_nvidia_gpus(),
        jetson=read_jetson(root),
    )


def _installed_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes(meminfo: str) -> int | None:
    kib = _field(meminfo, "MemTotal").partition(" ")[0]
    return int(kib) * 1024 if kib else None


def _field(text: str, name: str) -> str:
    """Return the value of the first line 'name : value', '' if there is none."""
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator and key.strip() == name:
            return value.strip()
    return ""


def _nvidia_gpus() -> tuple[str, ...]:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
