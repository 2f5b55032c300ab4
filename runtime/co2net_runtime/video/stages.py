"""Where the time goes: seconds of each stage of an extraction."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """Adds up the wall-clock seconds of stages; several threads may time at once.

    Stages overlap, so that their sum exceeds the time that passes: on one thread each, the largest
    of them is the bottleneck.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # stage -> seconds in all threads
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a `with` block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + passed
