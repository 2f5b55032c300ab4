"""Fresh Python processes, from start to end: how long, and how much memory at the peak."""

import subprocess
import sys
import time
from dataclasses import dataclass

from co2net_benchmarks.runners.process import TargetError

INFER = """
import sys
from co2net_runtime.cli.infer import main
main(sys.argv[1:], prog_name="co2net-infer")
"""

# what whoever has no runtime would write: MODEL FEATURES THREADS
ENGINE_ALONE = """
import sys
import numpy
import onnxruntime
model, features, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
rows = numpy.load(features)[None]
session.run(None, {"features": rows, "lengths": numpy.array([rows.shape[1]])})
"""

_TELL_PEAK = """
import atexit, sys
from co2net_benchmarks.runners.worker import peak_rss_bytes
atexit.register(lambda: print(peak_rss_bytes(), file=sys.stderr))
"""


@dataclass(frozen=True)
class Fresh:
    """What became of a process; peak_rss_bytes: None where it was not asked or nobody counts."""

    wall_s: float
    stdout: str
    peak_rss_bytes: int | None


def run_fresh(code: str, *arguments: str, tell_peak: bool = False) -> Fresh:
    """Run Python code with arguments in a process of its own.

    Raises TargetError with its last words if it fails.
    """
    text = (_TELL_PEAK if tell_peak else "") + code
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, check=False
    )
    wall_s = time.perf_counter() - start
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        raise TargetError(lines[-1] if lines else f"a process ended with {done.returncode}")
    peak = int(lines[-1]) if tell_peak and lines[-1].isdecimal() else None
    return Fresh(wall_s, done.stdout, peak)
