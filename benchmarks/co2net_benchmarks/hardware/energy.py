"""Energy counters of the machine: Intel RAPL, or a Jetson's sensors by jetson-stats."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from co2net_benchmarks.hardware.jetson import jetson_stats


class Meter(Protocol):
    """A counter of energy."""

    name: str  # of the counted hardware

    def joules(self) -> float:
        """Return the energy used since the meter was opened."""


class RaplMeter:
    """Processor packages, by the kernel's powercap files."""

    name = "processor packages (RAPL)"

    def __init__(self, domains: list[Path]) -> None:
        self._domains = domains
        self._ranges = [_number(domain / "max_energy_range_uj") for domain in domains]
        self._last = self._read()
        self._used_uj = 0

    def joules(self) -> float:
        """Return the energy since opening; to be called more often than the counters wrap."""
        now = self._read()
        for before, after, limit in zip(self._last, now, self._ranges, strict=True):
            self._used_uj += after - before if after >= before else after - before + limit
        self._last = now
        return self._used_uj / 1e6

    def _read(self) -> list[int]:
        return [_number(domain / "energy_uj") for domain in self._domains]


class JetsonMeter:
    """The whole board: its power sensors, integrated over jetson-stats' samples."""

    name = "whole board (jetson-stats)"

    def __init__(self, board: Any) -> None:
        self._used, self._at = 0.0, time.perf_counter()
        self._watts = float(board.power["tot"]["power"]) / 1e3
        board.attach(self._sample)

    def joules(self) -> float:
        """Return the energy since opening; the last sample's power lasts until now."""
        return self._used + self._watts * (time.perf_counter() - self._at)

    def _sample(self, board: Any) -> None:
        self._used, self._at = self.joules(), time.perf_counter()
        self._watts = float(board.power["tot"]["power"]) / 1e3


@contextmanager
def open_meter(root: Path = Path("/")) -> Iterator[Meter | None]:
    """Yield this machine's meter, None if it has none that may be read. root: where sys lies."""
    domains = sorted((root / "sys/class/powercap").glob("intel-rapl:?"))
    try:
        meter = RaplMeter(domains) if domains else None
    except OSError:
        meter = None  # only root may read it on most systems
    if meter is not None:
        yield meter
        return
    with jetson_stats(interval_s=0.2) as board:
        yield None if board is None else JetsonMeter(board)


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
