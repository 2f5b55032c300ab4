"""Checks of all that a GPU needs: driver, libraries, kernels, JetPack."""

from pathlib import Path

from co2net_runtime.backends.device import Gpu
from co2net_runtime.diagnostics.probe import (
    GIB,
    Check,
    Machine,
    Status,
    kernel_architectures,
    runs_on,
)

# releases of Linux for Tegra by JetPack
JETPACKS = {35: "5", 36: "6", 38: "7"}


def check_jetson(machine: Machine) -> list[Check]:
    """Look at the JetPack release, the power mode, and where JetPack's TensorRT is."""
    release = l4t_release(machine)
    if release is None:
        return []
    major, revision = release
    jetpack = JETPACKS.get(major)
    known = f"JetPack {jetpack}" if jetpack else "an unknown JetPack"
    checks = [
        Check(
            "jetson",
            "ok" if jetpack and major >= 36 else "warn",
            f"L4T {major}.{revision}, {known}",
            "" if jetpack and major >= 36 else "flash JetPack 6 or later (NVIDIA SDK Manager)",
        )
    ]
    mode = power_mode(machine)
    if mode:
        full = mode.upper().startswith("MAXN")
        checks.append(
            Check(
                "power mode",
                "ok" if full else "warn",
                mode,
                "" if full else "sudo nvpmodel -m 0 && sudo jetson_clocks",
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


def check_driver(machine: Machine) -> list[Check]:
    """Look at the NVIDIA driver and its GPUs."""
    if machine.gpus():
        return [_gpu_line(machine, gpu) for gpu in machine.gpus()]
    error = machine.driver_error()
    if machine.exists("/dev/nvidia[0-9]*") or machine.exists("/dev/nvhost-gpu"):
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
    tegra = l4t_release(machine) is not None
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
    if l4t_release(machine) is not None:
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


def check_cuda_python(machine: Machine) -> list[Check]:
    """Look at cuda-python, and whether the driver is new enough for it."""
    if not machine.gpus() or not machine.imports("tensorrt"):
        return []
    cuda = machine.driver_cuda() or (12, 0)
    install = f"pip install 'cuda-python>=12.6.1,<{cuda[0] + 1}'"
    version = next(
        (machine.packages()[name] for name in ("cuda-bindings", "cuda-python")
         if name in machine.packages()), "",
    )  # fmt: skip
    if not version or not machine.imports("cuda.bindings.runtime"):
        return [
            Check("cuda-python", "fail", "not installed or too old: no backend tensorrt", install)
        ]
    if int(version.partition(".")[0]) > cuda[0]:
        return [
            Check(
                "cuda-python",
                "fail",
                f"{version}, but the driver runs CUDA {cuda[0]}.{cuda[1]} at most",
                install,
            )
        ]
    return [Check("cuda-python", "ok", version)]


def l4t_release(machine: Machine) -> tuple[int, str] | None:
    """Return Linux for Tegra's release and revision, (36, "4.3"); None off a Jetson."""
    # "# R36 (release), REVISION: 4.3, GCID: ..."
    head = machine.text("/etc/nv_tegra_release").partition(", GCID")[0]
    if not head.startswith("# R"):
        return None
    release, _, revision = head.removeprefix("# R").partition(" (release), REVISION:")
    return int(release), revision.strip()


def power_mode(machine: Machine) -> str:
    """Return the name of the Jetson's power mode, "" if it cannot be told."""
    number = machine.text("/var/lib/nvpmodel/status").strip().removeprefix("pmode:")
    for line in machine.text("/etc/nvpmodel.conf").splitlines():
        # "< POWER_MODEL ID=2 NAME=15W >"
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        named = line.startswith("< POWER_MODEL") and number.isdecimal()
        if named and int(words.get("ID", "-1")) == int(number):
            return words.get("NAME", "")
    return ""


def _gpu_wheel(machine: Machine) -> bool:
    return "onnxruntime-gpu" in machine.packages()


def _onnxruntime_folder(machine: Machine) -> Path | None:
    try:
        # a folder that an uninstalled wheel left imports as a package without a file
        file = getattr(machine.module("onnxruntime"), "__file__", None)
    except (ImportError, OSError):
        return None
    return Path(file).parent / "capi" if file else None
