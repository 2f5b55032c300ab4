"""The doctor on machines that tests make up."""

import json
import struct
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from co2net_runtime.backends.device import Gpu
from co2net_runtime.cli import doctor as doctor_cli
from co2net_runtime.diagnostics import checks as doctor
from co2net_runtime.diagnostics import gpu_checks as doctor_gpu
from co2net_runtime.diagnostics.probe import Machine, kernel_architectures, runs_on

ORIN = Gpu(0, "Orin", (8, 7), 64 << 30)
DESKTOP = Gpu(0, "GeForce", (8, 6), 12 << 30)


class Made(Machine):
    """A machine as the test says; a GPU box with all in order by default."""

    # ruff: noqa: ARG002  # the questions have arguments, the answers do not need them

    def __init__(self, **answers):
        tensorrt = types.SimpleNamespace(Builder=object, __version__="10.13.3.9")
        onnxruntime = types.SimpleNamespace(
            __version__="1.31.0",
            __file__="/site-packages/onnxruntime/__init__.py",
            get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        )
        self.answers = {
            "packages": {"onnxruntime-gpu": "1.31.0", "numpy": "2.2", "tensorrt-cu13": "10.13"},
            "modules": {
                "onnxruntime": onnxruntime,
                "tensorrt": tensorrt,
            },
            "broken": {},  # library -> error
            "texts": {"/proc/meminfo": "MemAvailable:   9000000 kB\n"},
            "files": (),
            "python": (3, 12),
            "closed": (),  # files that may not be opened
            "gpus": (DESKTOP,),
            "driver_cuda": (13, 0),
            "driver_error": "",
            "gpu_free": 8 << 30,
            "free_disk": 50 << 30,
            **answers,
        }

    def packages(self):
        return self.answers["packages"]

    def module(self, name):
        found = self.answers["modules"].get(name)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        if isinstance(found, Exception):
            raise found
        return found

    def preload_cuda(self):
        pass

    def library_error(self, name):
        return self.answers["broken"].get(Path(name).name, "")

    def text(self, path):
        return self.answers["texts"].get(path, "")

    def exists(self, pattern):
        return pattern in self.answers["files"]

    def python(self):
        return self.answers["python"]

    def may_use(self, path):
        return path not in self.answers["closed"]

    def gpus(self):
        return self.answers["gpus"]

    def gpu_free(self, gpu):
        return self.answers["gpu_free"]

    def driver_cuda(self):
        return self.answers["driver_cuda"]

    def driver_error(self):
        return self.answers["driver_error"]

    def free_disk(self, folder):
        return self.answers["free_disk"]


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """The wheel's machine code, as the test says."""
    found = {75, 80, 86, 89, 90}
    monkeypatch.setattr(doctor_gpu, "kernel_architectures", lambda _: found)
    return found


def examine(tmp_path, **answers):
    return {one.name: one for one in doctor.examine(Made(**answers), tmp_path / "cache")}


def without(**changed):
    """The modules of a machine in order, but for some."""
    return {**Made().answers["modules"], **changed}


def test_a_machine_in_order(tmp_path):
    checks = examine(tmp_path)
    assert {one.status for one in checks.values()} == {"ok"}
    assert checks["gpu 0"].found == (
        "GeForce, compute capability 8.6, 12.0 GiB, 8.0 free, driver for CUDA 13.0"
    )
    assert checks["onnxruntime kernels"].found == "for 7.5, 8.0, 8.6, 8.9, 9.0"
    assert not [one.fix for one in checks.values() if one.fix]


def test_a_machine_without_a_gpu(tmp_path):
    packages = {"onnxruntime": "1.31.0", "numpy": "2.2"}
    checks = examine(tmp_path, gpus=(), packages=packages, driver_error="no libcuda.so.1")
    assert {one.status for one in checks.values()} == {"ok"}
    assert "tensorrt" not in checks


def test_two_wheels_in_one_folder(tmp_path):
    packages = {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.0"}
    check = examine(tmp_path, packages=packages)["onnxruntime"]
    assert check.status == "fail"
    assert check.fix == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


def test_another_onnxruntime_in_the_way(tmp_path):
    shadow = types.SimpleNamespace(
        __version__="1.20.0", __file__="/elsewhere", get_available_providers=list
    )
    check = examine(tmp_path, modules=without(onnxruntime=shadow))["onnxruntime"]
    assert check.status == "fail"
    assert "1.31.0 is installed, but 1.20.0 is imported, from /elsewhere" in check.found


def test_an_onnxruntime_that_does_not_import(tmp_path):
    torso = types.ModuleType("onnxruntime")  # what an uninstalled twin leaves
    check = examine(tmp_path, modules=without(onnxruntime=torso))["onnxruntime"]
    assert (check.status, check.fix) == (
        "fail",
        "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.0",
    )


def test_no_engine_at_all(tmp_path):
    check = examine(tmp_path, packages={}, modules={}, gpus=())["onnxruntime"]
    assert (check.status, check.fix) == ("fail", "pip install 'co2net[cpu]'")


def test_tensorrt_alone_is_enough(tmp_path):
    packages = {"tensorrt-cu13": "10.13"}
    checks = examine(tmp_path, packages=packages, modules=without(onnxruntime=None))
    assert checks["onnxruntime"].status == "warn"
    assert "fail" not in {one.status for one in checks.values()}


@pytest.mark.parametrize(
    ("files", "text", "fix"),
    [
        (("/dev/nvidia[0-9]*",), "its driver does not answer: boom", "install the NVIDIA driver"),
        (("/dev/nvhost-gpu",), "its driver does not answer: boom", "install the NVIDIA driver"),
        (("/sys/bus/pci/drivers/nvidia/0*",), "this container may not use", "--gpus all"),
    ],
)
def test_a_gpu_out_of_reach(tmp_path, files, text, fix):
    check = examine(tmp_path, gpus=(), files=files, driver_error="boom")["gpu"]
    assert check.status == "fail"
    assert text in check.found
    assert fix in check.fix


def test_a_missing_cuda_library(tmp_path):
    error = "libcudnn.so.9: cannot open shared object file"
    checks = examine(tmp_path, broken={"libonnxruntime_providers_cuda.so": error})
    assert checks["onnxruntime cuda"].status == "fail"
    assert "libcudnn.so.9" in checks["onnxruntime cuda"].found
    assert checks["onnxruntime cuda"].fix == "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    assert checks["onnxruntime tensorrt"].status == "ok"


@pytest.mark.parametrize("has_11", [True, False])
def test_tensorrt_10_is_wanted_and_11_is_there(tmp_path, has_11):
    broken = {"libonnxruntime_providers_tensorrt.so": "libnvinfer.so.10: cannot open"}
    if not has_11:
        broken["libnvinfer.so.11"] = "cannot open"
    check = examine(tmp_path, broken=broken)["onnxruntime tensorrt"]
    assert check.status == "warn"
    assert ("TensorRT 11 is there" in check.found) is has_11
    assert check.fix == "pip install 'tensorrt-cu13>=10.13,<11'"


def test_no_kernels_for_the_gpu(tmp_path, kernels):
    newer = Gpu(0, "Newer", (10, 0), 12 << 30)
    check = examine(tmp_path, gpus=(newer,))["onnxruntime kernels"]
    assert check.status == "fail"
    assert "none for Newer (10.0)" in check.found
    assert "--backend tensorrt" in check.fix


def test_a_gpu_that_is_full(tmp_path):
    check = examine(tmp_path, gpu_free=100 << 20)["gpu 0"]
    assert (check.status, check.fix) == ("warn", "nvidia-smi shows who holds its memory")


@pytest.mark.parametrize(
    ("module", "status", "text"),
    [
        (None, "warn", "not installed"),
        (ImportError("libnvinfer.so.10: cannot open"), "fail", "does not load: libnvinfer"),
        (types.ModuleType("tensorrt"), "fail", "type stubs without TensorRT"),
        (types.SimpleNamespace(Builder=1, __version__="8.6.2"), "fail", "10 or later"),
    ],
)
def test_tensorrt(tmp_path, module, status, text):
    check = examine(tmp_path, modules=without(tensorrt=module))["tensorrt"]
    assert check.status == status
    assert text in check.found
    assert check.fix


NEW, OLD = {"onnxruntime-gpu": "1.31.0"}, {"onnxruntime-gpu": "1.23.2"}
TENSORRT = {"tensorrt-cu13": "10.13"}


@pytest.mark.parametrize(
    ("packages", "driver", "python", "text", "extras"),
    [
        (NEW, (12, 6), (3, 12), "the driver runs CUDA 12.6 at most", "gpu-cu12"),
        (TENSORRT, (12, 8), (3, 12), "the driver runs CUDA 12.8 at most", "tensorrt-cu12"),
        # what Python 3.10 gets of wheels without a bound
        (OLD | TENSORRT, (13, 0), (3, 10), "two CUDAs", "gpu-cu12,tensorrt-cu12"),
        (OLD | TENSORRT, (13, 0), (3, 12), "two CUDAs", "gpu,tensorrt"),
    ],
)
def test_wheels_of_another_cuda(tmp_path, packages, driver, python, text, extras):
    answers = {"packages": packages, "driver_cuda": driver, "python": python}
    check = examine(tmp_path, **answers)["cuda versions"]
    assert check.status == "fail"
    assert text in check.found
    assert check.fix.endswith(f"pip install 'co2net[{extras}]'")


def test_the_cuda_that_a_wheel_itself_names(tmp_path):
    info = types.SimpleNamespace(cuda_version="12.8")
    modules = without(**{"onnxruntime.capi.build_and_package_info": info})
    check = examine(tmp_path, packages={"onnxruntime-gpu": "1.31.0"}, modules=modules)
    assert check["cuda versions"].found == "onnxruntime-gpu for CUDA 12"


JETSON = {
    "/proc/meminfo": "MemAvailable:   9000000 kB\n",
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n",
    "/var/lib/nvpmodel/status": "pmode:0002\n",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\nX\n< POWER_MODEL ID=2 NAME=15W >\n",
}


def test_a_jetson(tmp_path, kernels):
    kernels.add(87)
    checks = examine(tmp_path, gpus=(ORIN,), texts=JETSON)
    assert checks["jetson"].found == "L4T 36.4.3, JetPack 6"
    assert checks["power mode"].found == "15W"
    assert checks["power mode"].fix == "sudo nvpmodel -m 0 && sudo jetson_clocks"
    assert checks["onnxruntime kernels"].status == "ok"
    full = {**JETSON, "/var/lib/nvpmodel/status": "pmode:0000"}
    assert examine(tmp_path, texts=full)["power mode"].status == "ok"


NANO = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"


@pytest.mark.parametrize(
    ("modes", "number"),
    [
        (NANO + "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n< POWER_MODEL ID=3 NAME=7W >", 2),
        (NANO + "< POWER_MODEL ID=3 NAME=7W >", 1),
        ("< POWER_MODEL ID=0 NAME=MODE_15W >\n< POWER_MODEL ID=1 NAME=MODE_30W_ALL >", 1),
    ],
)
def test_the_full_power_mode_is_looked_up(tmp_path, modes, number):
    texts = {**JETSON, "/etc/nvpmodel.conf": modes, "/var/lib/nvpmodel/status": "pmode:0000"}
    check = examine(tmp_path, gpus=(ORIN,), texts=texts)["power mode"]
    assert check.fix == f"sudo nvpmodel -m {number} && sudo jetson_clocks"
    texts["/var/lib/nvpmodel/status"] = f"pmode:{number:04}"
    assert examine(tmp_path, gpus=(ORIN,), texts=texts)["power mode"].status == "ok"


@pytest.mark.parametrize(
    ("release", "text", "status"),
    [(39, "JetPack 7", "ok"), (38, "JetPack 7", "ok"), (40, "an unknown JetPack", "ok"),
     (35, "JetPack 5", "warn")],
)  # fmt: skip
def test_jetpacks(tmp_path, release, text, status):
    texts = {**JETSON, "/etc/nv_tegra_release": f"# R{release} (release), REVISION: 2.1, GCID: 1"}
    check = examine(tmp_path, gpus=(ORIN,), texts=texts)["jetson"]
    assert (check.found, check.status) == (f"L4T {release}.2.1, {text}", status)


def test_a_jetson_seen_from_a_container_as_a_user_without_its_groups(tmp_path):
    """No nv_tegra_release there, and CUDA does not start: not "no NVIDIA GPU"."""
    texts = {
        "/proc/meminfo": JETSON["/proc/meminfo"],
        "/proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
    }
    checks = examine(
        tmp_path, gpus=(), texts=texts, files=("/dev/nvmap",), closed=("/dev/nvmap",),
        driver_error="cuInit returns error 999",
    )  # fmt: skip
    assert checks["jetson groups"].status == checks["gpu"].status == "fail"
    assert "--group-add video" in checks["jetson groups"].fix
    assert "cuInit returns error 999" in checks["gpu"].found


def test_a_jetson_runs_no_desktop_kernels(tmp_path):
    """The wheel of PyPI has 8.6, which a desktop 8.7 would run; Orin does not."""
    check = examine(tmp_path, gpus=(ORIN,), texts=JETSON)["onnxruntime kernels"]
    assert check.status == "fail"
    assert "NVIDIA's onnxruntime-gpu for this JetPack" in check.fix


def test_a_python_that_does_not_see_jetpacks_tensorrt(tmp_path):
    checks = examine(
        tmp_path,
        gpus=(ORIN,),
        texts=JETSON,
        modules=without(tensorrt=None),
        files=("/usr/lib/python3*/dist-packages/tensorrt",),
    )
    assert checks["jetson python"].status == "fail"
    assert "--system-site-packages" in checks["jetson python"].fix
    assert checks["tensorrt"].fix == "sudo apt-get install python3-libnvinfer"


def test_an_old_jetpack(tmp_path):
    texts = {**JETSON, "/etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 1"}
    assert examine(tmp_path, texts=texts)["jetson"].found == "L4T 32.7.1, an unknown JetPack"


def test_little_space(tmp_path):
    texts = {"/proc/meminfo": "MemAvailable:   500000 kB\n"}
    checks = examine(tmp_path, texts=texts, free_disk=100 << 20)
    assert "only 0.5 GiB free" in checks["memory"].found
    assert "only 0.1 GiB free on this disk" in checks["cache"].found
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").touch()
    assert "engines are built at each start" in examine(tmp_path)["cache"].found


def test_every_complaint_says_what_to_do(tmp_path):
    bad = examine(
        tmp_path, packages={}, modules={}, gpus=(DESKTOP,), gpu_free=0, free_disk=0,
        texts={"/proc/meminfo": "MemAvailable: 1 kB"},
    )  # fmt: skip
    complaints = [one for one in bad.values() if one.status != "ok"]
    assert len(complaints) >= 5
    assert all(one.fix for one in complaints)


def entry(kind, capability, payload=b"x" * 8):
    head = struct.pack("<HHIQ", kind, 0x101, 64, len(payload))
    return head + b"\0" * 12 + struct.pack("<I", capability) + b"\0" * 32 + payload


def fat_binary(*entries):
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def test_reads_the_kernels_of_a_library(tmp_path):
    """The layout was checked against onnxruntime-gpu 1.31's provider: 75, 80, 86, 89, 90, 120."""
    library = tmp_path / "library.so"
    library.write_bytes(
        b"\x7fELF" + b"\0" * 100 + fat_binary(entry(2, 75), entry(1, 70), entry(2, 120))
        + b"noise" + struct.pack("<I", 0xBA55ED50) + b"no header" + fat_binary(entry(2, 87))
        + struct.pack("<I", 0xBA55ED50)
    )  # fmt: skip
    assert kernel_architectures(library) == {75, 120, 87}


@pytest.mark.parametrize(
    ("capability", "tegra", "expected"),
    [
        ((8, 6), False, True),
        ((8, 9), False, True),
        ((8, 7), True, False),
        ((7, 5), False, False),
        ((9, 0), False, False),
    ],
)
def test_which_kernels_run_where(capability, tegra, expected):
    assert runs_on({80, 86}, Gpu(0, "", capability, 0), tegra=tegra) is expected


@pytest.fixture
def cli(monkeypatch, tmp_path):
    def run(*arguments, **answers):
        monkeypatch.setattr(doctor_cli, "Machine", lambda: Made(**answers))
        monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
        return CliRunner().invoke(doctor_cli.main, [*map(str, arguments)])

    return run


def test_prints_lines_with_their_fix(cli):
    done = cli(packages={"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.0"})
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("fail  onnxruntime "))
    assert lines[at + 1].strip().startswith("fix: pip uninstall -y onnxruntime")
    assert cli().exit_code == 0


def test_json(cli):
    done = cli("--json")
    document = json.loads(done.stdout)
    assert {"name", "status", "found", "fix"} == set(document["checks"][0])


def test_a_model(cli, tiny_path, tmp_path):
    done = cli(tiny_path)
    assert done.exit_code == 0
    assert "fp32, 3 classes, features of 16; first result after" in done.stdout
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nothing")
    done = cli(tiny_path, bad)
    assert done.exit_code == 1
    assert "damaged or truncated" in done.stdout


def test_this_machine_is_examined(tmp_path):
    """No answer is made up: whatever it says, it says without failing."""
    checks = doctor.examine(Machine(), tmp_path)
    assert {"python", "numpy", "cpu", "onnxruntime", "cache"} <= {one.name for one in checks}
    assert next(one for one in checks if one.name == "onnxruntime").status == "ok"
