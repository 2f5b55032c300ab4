"""The cost of an import, and the error when memory is short."""

import subprocess
import sys
from pathlib import Path

import pytest

import co2net_runtime

PACKAGE = Path(co2net_runtime.__file__).parent
ROOT = PACKAGE.parents[1]


def run(program):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{program}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_no_engine_and_nothing_heavy():
    program = """
import sys
import co2net_runtime
assert "numpy" not in sys.modules
from co2net_runtime import Detections, Localizer
heavy = '''onnxruntime tensorrt cuda matplotlib click torch onnx multiprocessing asyncio
concurrent http urllib.request email xml unittest ctypes.util sqlite3 yaml'''.split()
print(*(set(heavy) & set(sys.modules)))
"""
    assert run(program).split() == []


def test_import_adds_few_modules_to_numpys():
    """Modules are what an import's time goes to; the time itself is measured, not tested.

    What else Python has loaded by then differs a little from one environment to the other.
    """
    program = """
import sys, numpy
before = set(sys.modules)
from co2net_runtime import Localizer
new = set(sys.modules) - before
ours = {name for name in new if name.startswith("co2net_runtime")}
others = {name for name in new - ours if not name.startswith("numpy")}
print(len(ours), len(others))
"""
    ours, others = map(int, run(program).split())
    assert ours < 38
    assert others < 60


def test_help_needs_no_numpy():
    """Half of what the answer would take."""
    program = """
import sys
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.infer import main
main(["--help"], standalone_mode=False)
print(sorted({"numpy", "onnxruntime"} & set(sys.modules)))
"""
    assert run(program).splitlines()[-1] == "[]"


def test_installed_size_without_engines_is_under_1_2_mb():
    files = [path for path in PACKAGE.rglob("*") if path.suffix != ".pyc" and path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_200_000
    assert len(files) > 30


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
def test_out_of_memory_is_one_error_and_the_next_video_runs(tiny_path):
    """Of a real engine: ONNX Runtime in a process that may not take more memory."""
    program = f"""
import resource
import numpy as np
from co2net_runtime import BackendError, EngineOptions, Localizer
localizer = Localizer.load({str(tiny_path)!r},
    EngineOptions(backend="onnxruntime", device="cpu", threads=1), chunk=10**9)
features = np.ones((2_000_000, 16), np.float32)

def allow_300_mib_more():
    # than now: what the engine keeps of a failed run is no matter
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), hard))

allow_300_mib_more()
try:
    localizer.network.run([features])[0]
except BackendError as error:
    print(error)
allow_300_mib_more()
try:
    localizer.batch([features] * 9, size=9)
except BackendError as error:
    print(error)
allow_300_mib_more()
print(localizer.network.run([features[:10]])[0].cas.shape)
"""
    one, batch, after = run(program).strip().splitlines()
    assert "out of memory with 1 video of T = 2000000" in one
    assert "--chunk" in one
    assert "out of memory with 9 videos of T = 2000000 at once: use a smaller --batch" in batch
    assert after == "(10, 4)"
