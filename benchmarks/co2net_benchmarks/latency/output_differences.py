"""Whether targets compute the same: their outputs on one video against the reference's.

A target may be fast because it rounds more than it says, as an engine that computes in bfloat16.
"""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from co2net_benchmarks.runners.pool import RunnerPool

Arrays = dict[str, npt.NDArray[np.float32]]


def measure_differences(pool: RunnerPool, path: Path) -> dict[str, float | None]:
    """Run every process once on a feature file and compare its outputs with the first one's.

    Returns:
        By target the largest absolute difference of cas or attention, in units of
        max(1, max |cas|) of the first; None where an output is not finite. A process that fails
        is missing.
    """
    with tempfile.TemporaryDirectory(prefix="co2net-bench-") as name:
        saved = Path(name) / "outputs.npz"
        reference: Arrays | None = None
        differences = {}
        for process, _, _ in pool.take_turns(
            lambda process: process.ask("save_outputs", path=str(path), to=str(saved))
        ):
            with np.load(saved) as arrays:
                outputs = dict(arrays)
            reference = reference or outputs
            differences[process.name] = _difference(outputs, reference)
    return differences


def _difference(outputs: Arrays, reference: Arrays) -> float | None:
    scale = max(1.0, float(np.abs(reference["cas"]).max()))
    largest = max(float(np.abs(outputs[key] - reference[key]).max()) for key in reference)
    return largest / scale if np.isfinite(largest) else None
