"""The child process of one target: requests come as JSON lines, answers go back the same way.

Between requests it blocks on the pipe. `children.Child` runs it. Nothing heavy is imported before
a request asks for it, so that imports can be timed.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from co2net_benchmarks.runners.targets import Target


class Worker:
    """Answers requests with plain values; times are in seconds."""

    def __init__(self) -> None:
        self._subject: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request, {"do": NAME, ...arguments}, by the method of that name."""
        arguments = dict(request)
        method = getattr(self, arguments.pop("do"))
        result: dict[str, Any] = method(**arguments)
        return result

    def prepare(self, target: dict[str, Any], folder: str) -> dict[str, Any]:
        """Export or read what must be there before the target can be opened."""
        from co2net_benchmarks.runners import runners as subjects

        prepared = subjects.prepare(_target(target), Path(folder))
        return {"path": str(prepared.path), "contract": prepared.contract}

    def open(
        self, target: dict[str, Any], path: str, contract: str | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Import the engine and load the model."""
        import importlib

        to_open = _target(target)
        start = time.perf_counter()
        for module in to_open.modules:
            importlib.import_module(module)
        import_s = time.perf_counter() - start

        from co2net_benchmarks.runners.runners import Prepared, open_subject
        from co2net_runtime.backends import EngineOptions
        from co2net_runtime.files.records import from_mapping

        prepared = Prepared(to_open, Path(path), contract)
        start = time.perf_counter()
        self._subject = open_subject(prepared, from_mapping(EngineOptions, options, "options"))
        return {"import_s": import_s, "load_s": time.perf_counter() - start}

    def facts(self) -> dict[str, Any]:
        """Return what the opened target says of itself."""
        return {
            "engine": self._subject.engine,
            "contract": self._subject.contract.to_json(),
            "macs_per_snippet": self._subject.macs_per_snippet,
            "model_bytes": self._subject.model_bytes,
            "computes_in": self._subject.computes_in,
        }

    def run(self, path: str, count: int, discard: int = 0) -> dict[str, Any]:
        """Take one video `count` times through the pipeline, after `discard` untimed times."""
        from co2net_benchmarks.runners.runners import run_once

        for _ in range(discard):
            run_once(self._subject, Path(path))
        samples: dict[str, list[float]] = {}
        segments = 0
        for _ in range(count):
            stages, segments = run_once(self._subject, Path(path))
            for stage, seconds in stages.items():
                samples.setdefault(stage, []).append(seconds)
        return {"samples": samples, "segments": segments, "peak_rss_bytes": peak_rss_bytes()}

    def save_outputs(self, path: str, to: str) -> dict[str, Any]:
        """Run the network on one video and save what it gives, cas and attention (.npz)."""
        import numpy as np

        from co2net_runtime.features import FeatureFile

        feature_dim = self._subject.contract.feature_dim
        features = FeatureFile("video", Path(path)).read(feature_dim)
        cas, attention = self._subject.tensors(self._subject.network(features))
        np.savez(to, cas=cas, attention=attention)
        return {}

    def run_each(self, paths: Sequence[str]) -> dict[str, Any]:
        """Take videos one at a time through the pipeline; return each one's time."""
        from co2net_benchmarks.runners.runners import run_once

        return {"totals": [run_once(self._subject, Path(path))[0]["total"] for path in paths]}

    def run_all(self, paths: Sequence[str]) -> dict[str, Any]:
        """Work through all videos as fast as the target can."""
        start = time.perf_counter()
        segments = self._subject.run_files([Path(path) for path in paths])
        wall_s = time.perf_counter() - start
        return {"segments": segments, "wall_s": wall_s, "peak_rss_bytes": peak_rss_bytes()}

    def run_network(self, paths: Sequence[str], size: int | None = None) -> dict[str, Any]:
        """Run the network alone over all videos of a target of the runtime, in groups."""
        files = [Path(path) for path in paths]
        return {"network_s": self._subject.time_network(files, size)}

    def serve(self, paths: Sequence[str], arrivals: Sequence[float]) -> dict[str, Any]:
        """Answer queries that arrive at the given times, in order; return each one's latency.

        The latency counts from the arrival, so it includes the time in the queue.
        """
        from co2net_benchmarks.runners.runners import run_once

        latencies = []
        start = time.perf_counter()
        for path, arrival in zip(paths, arrivals, strict=True):
            time.sleep(max(0.0, start + arrival - time.perf_counter()))
            run_once(self._subject, Path(path))
            latencies.append(time.perf_counter() - start - arrival)
        return {"latencies": latencies}

    def gemm(self, threads: int | None) -> dict[str, Any]:
        """Measure this machine's float32 matrix multiplication, FLOP/s by library."""
        from co2net_benchmarks.hardware.gemm import gemm_peaks

        return gemm_peaks(threads)


def peak_rss_bytes() -> int | None:
    """Return the largest resident memory this process has had, None where nobody counts it.

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


def _target(mapping: dict[str, Any]) -> Target:
    return Target(**{**mapping, "path": Path(mapping["path"])})


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
