"""Is an artefact faster than fp32 on this machine? A quick look, no benchmark."""

import time
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import Contract

SNIPPETS = 320
ROUNDS = 9


def speedup(baseline: Any, session: Any, contract: Contract) -> float:
    """Return how many times faster `session` runs one video than `baseline` does.

    Both are ONNX Runtime sessions of whole-video graphs; they take turns, so that a machine busy
    with other work slows both, and the medians of ROUNDS runs are compared.
    """
    features = np.random.default_rng(0).random((1, SNIPPETS, contract.feature_dim), np.float32)
    feeds = {"features": features, "lengths": np.array([SNIPPETS])}
    elapsed: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for times, candidate in zip(elapsed, (baseline, session), strict=True):
            start = time.perf_counter()
            candidate.run(contract.outputs, feeds)
            times.append(time.perf_counter() - start)
    # the first run allocates
    before, after = (float(np.median(times[1:])) for times in elapsed)
    return before / after
