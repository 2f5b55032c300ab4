"""The child process of one target: requests come as JSON lines, answers go back the same way.

Between requests it blocks on the pipe. `process.Child` starts it. Nothing heavy is imported before
a request asks for it, so that imports can be timed.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Worker:
    """Answers requests with plain values; times are in seconds."""

    def __init__(self) -> None:
        self._runner: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request, {"do": NAME, ...arguments}, by the method of that name."""
        arguments = dict(request)
        method = getattr(self, arguments.pop("do"))
        result: dict[str, Any] = method(**arguments)
        return result

    def prepare(self, target: dict[str, str], folder: str) -> dict[str, Any]:
        """Make the file that the runner opens; return its path."""
        from co2net_benchmarks.runners.runners import RUNNERS

        path = RUNNERS[target["kind"]].prepare(Path(target["path"]), Path(folder))
        return {"path": str(path)}

    def open(self, target: dict[str, str], path: str, options: dict[str, Any]) -> dict[str, Any]:
        """Import the engine and load the model."""
        begin = time.perf_counter()
        from co2net_benchmarks.runners.runner import Target
        from co2net_benchmarks.runners.runners import RUNNERS
        from co2net_runtime.backends import EngineOptions
        from co2net_runtime.files.records import from_mapping

        runner, opened = RUNNERS[target["kind"]], Path(path)
        runner.import_engine()
        asked_options = from_mapping(EngineOptions, options, "options")
        imported = time.perf_counter()
        self._runner = runner(opened, asked_options)
        loaded = time.perf_counter()
        asked = Target(target["name"], target["kind"], Path(target["path"]))
        return {
            "import_s": imported - begin,
            "load_s": loaded - imported,
            "info": vars(self._runner.info(asked, opened)),
        }

    def run(self, path: str, count: int, discard: int = 0) -> dict[str, Any]:
        """Take one video `count` times through the pipeline, after `discard` untimed times."""
        for _ in range(discard):
            self._runner.run(Path(path))
        samples: dict[str, list[float]] = {}
        segments = 0
        for _ in range(count):
            stages, segments = self._runner.run(Path(path))
            for stage, seconds in stages.items():
                samples.setdefault(stage, []).append(seconds)
        return {"samples": samples, "segments": segments, "peak_rss_bytes": peak_rss_bytes()}

    def save_outputs(self, path: str, to: str) -> dict[str, Any]:
        """Run the network on one video and save its cas and attention (.npz)."""
        import numpy as np

        cas, attention = self._runner.network(self._runner.read(Path(path)))
        np.savez(to, cas=cas, attention=attention)
        return {}

    def run_all(self, paths: Sequence[str]) -> dict[str, Any]:
        """Work through all videos as fast as the target can."""
        start = time.perf_counter()
        segments = self._runner.run_files([Path(path) for path in paths])
        wall_s = time.perf_counter() - start
        return {"segments": segments, "wall_s": wall_s, "peak_rss_bytes": peak_rss_bytes()}

    def gemm(self, threads: int | None) -> dict[str, Any]:
        """Measure this machine's float32 matrix multiplication, FLOP/s by library."""
        from co2net_benchmarks.hardware.gemm import gemm_peaks

        return gemm_peaks(threads)


def peak_rss_bytes() -> int | None:
    """Return the largest resident memory this process has had, None where the system does not say.

    On Linux from VmHWM: getrusage's ru_maxrss survives exec, so a child would inherit the peak of
    the process that started it.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Answer requests until stdin closes."""
    # engines print on stdout: the answers get a descriptor of their own
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    answers.write('{"ready": true}\n')
    answers.flush()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever fails in an engine is the answer
            text = " ".join(str(error).split())
            answer = {"error": text or type(error).__name__, "type": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
