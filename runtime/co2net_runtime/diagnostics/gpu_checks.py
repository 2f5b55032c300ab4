"""Checks of all that a GPU needs: driver, libraries, kernels, JetPack."""

import re
from collections.abc import Iterator
from pathlib import Path

from co2net_runtime.backends.device import Gpu, is_tegra
from co2net_runtime.diagnostics.probe import (
    GIB,
    Check,
    Machine,
    Status,
    kernel_architectures,
    runs_on,
)

# releases of Linux for Tegra by JetPack
JETPACKS = {35: "5", 36: "6", 38: "7", 39: "7"}
# wheels of PyPI: this one and later are made for CUDA 13, those before for CUDA 12
ONNXRUNTIME_CUDA_13 = (1, 27)


def check_jetson(machine: Machine) -> list[Check]:
    """Look at the JetPack release, the power mode, and where JetPack's TensorRT is."""
    if not is_tegra(machine.text, machine.exists):
        return []
    checks = [_release_line(_l4t_release(machine))]
    if machine.exists("/dev/nvmap") and not machine.may_use("/dev/nvmap"):
        checks.append(
            Check(
                "jetson groups",
                "fail",
                "this user may not open /dev/nvmap, so CUDA does not start",
                "sudo usermod -aG video,render $USER; in a container: docker run --group-add video "
                "--group-add $(stat -c %g /dev/dri/renderD128) ...",
            )
        )
    mode, full = power_mode(machine), _full_power_mode(machine)
    if mode:
        slower = full is not None and mode != full[1]
        checks.append(
            Check(
                "power mode",
                "warn" if slower else "ok",
                mode,
                f"sudo nvpmodel -m {full[0]} && sudo jetson_clocks" if full and slower else "",
            )
        )
    if machine.exists("/usr/lib/python3*/dist-packages/tensorrt"):
        try:
            machine.module("tensorrt")
        except (ImportError, OSError):
            checks.append(
                Check(
                    "jetson python",
                    "fail",
                    "JetPack's TensorRT is in the system Python, which this Python does not see",
                    "/usr/bin/python3 -m venv --system-site-packages .venv",
                )
            )
    return checks


def _release_line(release: tuple[int, str] | None) -> Check:
    if release is None:
        return Check("jetson", "ok", "one, seen from inside a container")
    major, revision = release
    known = f"JetPack {JETPACKS[major]}" if major in JETPACKS else "an unknown JetPack"
    found = f"L4T {major}.{revision}, {known}"
    if major < 36:
        return Check("jetson", "warn", found, "flash JetPack 6 or later (NVIDIA SDK Manager)")
    return Check("jetson", "ok", found)


def check_driver(machine: Machine) -> list[Check]:
    """Look at the NVIDIA driver and its GPUs."""
    if machine.gpus():
        return [_gpu_line(machine, gpu) for gpu in machine.gpus()]
    error = machine.driver_error()
    signs = ("/dev/nvidia[0-9]*", "/dev/nvhost-gpu", "/dev/nvmap")
    if any(machine.exists(sign) for sign in signs):
        return [
            Check("gpu", "fail", f"there is one, but its driver does not answer: {error}",
                  "install the NVIDIA driver, or reboot after an update of it")
        ]  # fmt: skip
    if machine.exists("/sys/bus/pci/drivers/nvidia/0*"):
        return [
            Check("gpu", "fail", "the host has one that this container may not use",
                  "docker run --gpus all (or --runtime nvidia) ...")
        ]  # fmt: skip
    return [Check("gpu", "ok", "no NVIDIA GPU: the CPU computes")]


def _gpu_line(machine: Machine, gpu: Gpu) -> Check:
    cuda, free = machine.driver_cuda(), machine.gpu_free(gpu)
    found = f"{gpu.name}, compute capability {gpu.compute_capability}, "
    found += f"{gpu.memory_bytes / GIB:.1f} GiB"
    if free is not None:
        found += f", {free / GIB:.1f} free"
    if cuda:
        found += f", driver for CUDA {cuda[0]}.{cuda[1]}"
    if free is not None and free < GIB:
        return Check(f"gpu {gpu.index}", "warn", found, "nvidia-smi shows who holds its memory")
    return Check(f"gpu {gpu.index}", "ok", found)


def check_cuda_libraries(machine: Machine) -> list[Check]:
    """Load onnxruntime's GPU providers, and so what they need of CUDA, cuDNN and TensorRT."""
    folder = _onnxruntime_folder(machine) if _gpu_wheel(machine) and machine.gpus() else None
    if folder is None:
        return []
    machine.preload_cuda()
    checks = []
    wanted: tuple[tuple[str, str, Status, str], ...] = (
        ("cuda", "libonnxruntime_providers_cuda.so", "fail",
         "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        ("tensorrt", "libonnxruntime_providers_tensorrt.so", "warn",
         "pip install 'tensorrt-cu13>=10.13,<11'"),
    )  # fmt: skip
    for name, library, status, fix in wanted:
        error = machine.library_error(str(folder / library))
        if "libnvinfer.so.10" in error and not machine.library_error("libnvinfer.so.11"):
            error += "; TensorRT 11 is there, which only --backend tensorrt takes"
        checks.append(
            Check(f"onnxruntime {name}", status if error else "ok", error or f"{library} loads",
                  fix if error else "")
        )  # fmt: skip
    return checks


def check_kernels(machine: Machine) -> list[Check]:
    """Compare the GPUs with the machine code in onnxruntime's CUDA provider."""
    folder = _onnxruntime_folder(machine) if _gpu_wheel(machine) and machine.gpus() else None
    if folder is None:
        return []
    try:
        architectures = kernel_architectures(folder / "libonnxruntime_providers_cuda.so")
    except (OSError, ValueError):
        return []
    tegra = is_tegra(machine.text, machine.exists)
    known = ", ".join(f"{one // 10}.{one % 10}" for one in sorted(architectures))
    return [
        Check("onnxruntime kernels", "ok", f"for {known}")
        if runs_on(architectures, gpu, tegra=tegra)
        else Check(
            "onnxruntime kernels",
            "fail",
            f"for {known}, none for {gpu.name} ({gpu.compute_capability})",
            "install NVIDIA's onnxruntime-gpu for this JetPack, or use --backend tensorrt"
            if tegra
            else "pip install --upgrade onnxruntime-gpu, or use --backend tensorrt",
        )
        for gpu in machine.gpus()
    ]


def check_tensorrt(machine: Machine) -> list[Check]:
    """Look at TensorRT's Python module and the library behind it."""
    if not machine.gpus():
        return []
    install = "pip install 'co2net[tensorrt]'"
    if is_tegra(machine.text, machine.exists):
        install = "sudo apt-get install python3-libnvinfer"
    try:
        module = machine.module("tensorrt")
    except ModuleNotFoundError:
        return [Check("tensorrt", "warn", "not installed: no backend tensorrt", install)]
    except (ImportError, OSError) as error:
        return [Check("tensorrt", "fail", f"does not load: {error}", install)]
    if not hasattr(module, "Builder"):
        return [
            Check("tensorrt", "fail", "an empty package: type stubs without TensorRT",
                  f"pip uninstall -y tensorrt-stubs; {install}")
        ]  # fmt: skip
    version = str(module.__version__)
    if int(version.partition(".")[0]) < 10:
        return [Check("tensorrt", "fail", f"{version}: 10 or later is needed", install)]
    return [Check("tensorrt", "ok", version)]


def check_cuda_majors(machine: Machine) -> list[Check]:
    """Compare the CUDA that the installed wheels are made for with each other and the driver."""
    driver = machine.driver_cuda()
    if not machine.gpus() or driver is None:
        return []
    wheels = dict(_cuda_majors(machine))
    found = ", ".join(f"{name} for CUDA {major}" for name, major in wheels.items())
    if any(major > driver[0] for major in wheels.values()):
        problem = f"the driver runs CUDA {driver[0]}.{driver[1]} at most"
    elif len(set(wheels.values())) > 1:
        problem = "two CUDAs do not fit into one process"
    else:
        return [Check("cuda versions", "ok", found)] if wheels else []
    # the wheels for CUDA 13 need Python 3.11
    suffix = "" if driver[0] >= 13 and machine.python() >= (3, 11) else "-cu12"
    extras = ("gpu" if name == "onnxruntime-gpu" else "tensorrt" for name in wheels)
    wanted = ",".join(f"{extra}{suffix}" for extra in sorted(extras))
    repair = f"pip uninstall -y {' '.join(wheels)} && pip install 'co2net[{wanted}]'"
    return [Check("cuda versions", "fail", f"{found}: {problem}", repair)]


def _cuda_majors(machine: Machine) -> Iterator[tuple[str, int]]:
    packages = machine.packages()
    for name in packages:
        # tensorrt-cu13, and its parts
        if match := re.fullmatch(r"tensorrt-cu(\d+)", name):
            yield name, int(match.group(1))
    if "onnxruntime-gpu" in packages and not is_tegra(machine.text, machine.exists):
        try:
            built = machine.module("onnxruntime.capi.build_and_package_info").cuda_version
        except (ImportError, OSError, AttributeError):
            version = tuple(map(int, packages["onnxruntime-gpu"].split(".")[:2]))
            built = "13" if version >= ONNXRUNTIME_CUDA_13 else "12"
        yield "onnxruntime-gpu", int(str(built).partition(".")[0])


def _l4t_release(machine: Machine) -> tuple[int, str] | None:
    """Return Linux for Tegra's release and revision, (36, "4.3"); None off a Jetson."""
    # "# R36 (release), REVISION: 4.3, GCID: ..."
    head = machine.text("/etc/nv_tegra_release").partition(", GCID")[0]
    if not head.startswith("# R"):
        return None
    release, _, revision = head.removeprefix("# R").partition(" (release), REVISION:")
    return int(release), revision.strip()


def power_mode(machine: Machine) -> str:
    """Return the name of the Jetson's power mode, "" if unknown."""
    number = machine.text("/var/lib/nvpmodel/status").strip().removeprefix("pmode:")
    return _power_modes(machine).get(int(number), "") if number.isdecimal() else ""


def _full_power_mode(machine: Machine) -> tuple[int, str] | None:
    """Return number and name of the mode with the most power; None if unknown.

    The number differs from board to board: MAXN_SUPER is 0 on one Orin Nano and 2 on another.
    """
    modes = _power_modes(machine)
    for wanted in ("MAXN_SUPER", "MAXN"):
        for number, name in modes.items():
            if name.upper() == wanted:
                return number, name
    watts = {
        number: int(match.group(1))
        for number, name in modes.items()
        if (match := re.match(r"(?:MODE_)?(\d+)W", name, re.IGNORECASE))
    }
    if not watts:
        return None
    best = max(watts, key=lambda number: watts[number])
    return best, modes[best]


def _power_modes(machine: Machine) -> dict[int, str]:
    """Return the modes' names by their number."""
    modes = {}
    for line in machine.text("/etc/nvpmodel.conf").splitlines():
        # "< POWER_MODEL ID=2 NAME=15W >"
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if line.startswith("< POWER_MODEL") and words.get("ID", "").isdecimal():
            modes[int(words["ID"])] = words.get("NAME", "")
    return modes


def _gpu_wheel(machine: Machine) -> bool:
    return "onnxruntime-gpu" in machine.packages()


def _onnxruntime_folder(machine: Machine) -> Path | None:
    try:
        # a folder that an uninstalled wheel left imports as a package without a file
        file = getattr(machine.module("onnxruntime"), "__file__", None)
    except (ImportError, OSError):
        return None
    return Path(file).parent / "capi" if file else None
