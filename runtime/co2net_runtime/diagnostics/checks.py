"""Checks of all that an engine needs here, each with the command that fixes it."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from co2net_runtime.backends import EngineOptions
from co2net_runtime.diagnostics.gpu_checks import (
    check_cuda_libraries,
    check_cuda_majors,
    check_driver,
    check_jetson,
    check_kernels,
    check_tensorrt,
)
from co2net_runtime.diagnostics.probe import GIB, Check, Machine
from co2net_runtime.diagnostics.selftest import synthetic_features
from co2net_runtime.errors import Co2netError
from co2net_runtime.files.cache import cache_folder, unusable
from co2net_runtime.files.text import number_of
from co2net_runtime.network.network import Network

LOW_BYTES = 1 * GIB

# distributions that all install the module onnxruntime, each over the other
ONNXRUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-rocm",
)


def examine(machine: Machine, cache: str | os.PathLike[str] | None = None) -> list[Check]:
    """Return the findings, in the order in which to fix them."""
    parts: tuple[Callable[[Machine], list[Check]], ...] = (
        _check_python,
        check_jetson,
        _check_cpu,
        _check_onnxruntime,
        _check_openvino,
        check_driver,
        check_cuda_libraries,
        check_kernels,
        check_tensorrt,
        check_cuda_majors,
    )
    checks = [check for part in parts for check in part(machine)]
    return checks + _check_space(machine, cache_folder(cache))


def _check_python(machine: Machine) -> list[Check]:
    """Look at Python and numpy."""
    packages = machine.packages()
    version = platform.python_version()
    checks = [Check("python", "ok", f"{version}, {platform.machine()}, {sys.executable}")]
    numpy = packages.get("numpy", "")
    checks.append(Check("numpy", "ok", numpy))
    return checks


def _check_cpu(machine: Machine) -> list[Check]:
    """Look at the cores and at what int8 gains on them."""
    info = machine.text("/proc/cpuinfo")
    flags = next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "")
    words = set(flags.split())
    int8 = sorted(words & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
    said = f"int8 by {', '.join(int8)}" if int8 else "no int8 instructions: int8 gains less"
    bf16 = sorted(words & {"avx512_bf16", "amx_bf16", "bf16"})
    said += f"; bfloat16 (--bf16) by {', '.join(bf16)}" if bf16 else "; no bfloat16"
    return [Check("cpu", "ok", f"{machine.cpus()} cores, {said}")]


def _check_onnxruntime(machine: Machine) -> list[Check]:
    """Look for onnxruntime's variants, which shadow one another."""
    packages = machine.packages()
    there = [name for name in ONNXRUNTIMES if name in packages]
    if not there:
        tensorrt = machine.imports("tensorrt")
        return [
            Check(
                "onnxruntime",
                "warn" if tensorrt else "fail",
                "not installed" + (" (the backend tensorrt works without)" if tensorrt else ""),
                "pip install 'co2net[cpu]'",
            )
        ]
    if len(there) > 1:
        wanted = next((name for name in there if name != "onnxruntime"), there[0])
        return [
            Check(
                "onnxruntime",
                "fail",
                f"{' and '.join(there)} are installed, and share one folder: which one runs is "
                "chance",
                f"pip uninstall -y {' '.join(there)} && pip install {wanted}",
            )
        ]
    name = there[0]
    fix = f"pip install --force-reinstall --no-deps {name}=={packages[name]}"
    try:
        module = machine.module("onnxruntime")
        providers = module.get_available_providers()
    except (ImportError, OSError, AttributeError) as error:
        return [Check("onnxruntime", "fail", f"{name} does not import: {error}", fix)]
    if module.__version__ != packages[name]:
        found = f"{name} {packages[name]} is installed, but {module.__version__} is imported"
        return [Check("onnxruntime", "fail", f"{found}, from {module.__file__}", fix)]
    useful = [one.removesuffix("ExecutionProvider") for one in providers if "Azure" not in one]
    return [Check("onnxruntime", "ok", f"{name} {packages[name]}: {', '.join(useful)}")]


def _check_openvino(machine: Machine) -> list[Check]:
    """Look for openvino, where it is installed."""
    version = machine.packages().get("openvino")
    if version is None:
        return []
    try:
        module = machine.module("openvino")
        devices = ", ".join(module.Core().available_devices)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        repair = f"pip install --force-reinstall --no-deps openvino=={version}"
        return [Check("openvino", "fail", f"openvino does not import: {error}", repair)]
    return [Check("openvino", "ok", f"openvino {version}: {devices}")]


def check_model(model: Path, options: EngineOptions) -> Check:
    """Open the model as co2net-infer would, and run it once."""
    name = f"model {model.name}"
    try:
        start = time.perf_counter()
        with Network.open(model, options) as network:
            contract = network.contract
            network.run([synthetic_features(64, contract.feature_dim)])
            elapsed = time.perf_counter() - start
            return Check(
                name, "ok", f"{contract.precision}, {number_of(len(contract.classes), 'class')}, "
                "features of "
                f"{contract.feature_dim}; first result after {elapsed:.2f} s in {network.engine}",
            )  # fmt: skip
    except Co2netError as error:
        return Check(name, "fail", str(error))


def _check_space(machine: Machine, cache: Path) -> list[Check]:
    """Look at free memory, and at the cache folder and the disk under it."""
    checks = []
    lines = dict(
        line.split(":", 1) for line in machine.text("/proc/meminfo").splitlines() if ":" in line
    )
    if "MemAvailable" in lines:
        free = int(lines["MemAvailable"].split()[0]) * 1024
        checks.append(
            Check("memory", "ok", f"{free / GIB:.1f} GiB free")
            if free >= LOW_BYTES
            else Check("memory", "warn", f"only {free / GIB:.1f} GiB free",
                       "end other programs, or use a small --chunk")
        )  # fmt: skip
    problem = unusable(cache)
    free = machine.free_disk(cache)
    if problem:
        checks.append(
            Check("cache", "warn", f"{cache}: {problem}: engines are built at each start",
                  "export CO2NET_CACHE=FOLDER, one that can be written")
        )  # fmt: skip
    elif free < LOW_BYTES:
        checks.append(
            Check("cache", "warn", f"{cache}: only {free / GIB:.1f} GiB free on this disk",
                  f"rm -r {cache}, or export CO2NET_CACHE=FOLDER on another disk")
        )  # fmt: skip
    else:
        checks.append(Check("cache", "ok", f"{cache}, {free / GIB:.0f} GiB free"))
    return checks
