"""A Jetson's own report: release, power mode and draw, clocks, temperatures (jetson-stats)."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Jetson:
    """Facts without which a figure of a Jetson means nothing."""

    release: str  # of L4T: the first line of nv_tegra_release
    power_mode: str | None  # as nvpmodel names it
    clocks_locked: bool | None  # whether jetson_clocks is on; None without jetson-stats
    temperatures_c: dict[str, float]  # by sensor; empty without jetson-stats
    power_w: float | None = None  # of the whole board as the run began; None without jetson-stats


def read_jetson(root: Path = Path("/")) -> Jetson | None:
    """Return this Jetson's facts, None on another machine. root: where etc is found."""
    try:
        release = (root / "etc/nv_tegra_release").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return None
    return Jetson(release.lstrip("# "), _power_mode(), *_from_jetson_stats())


def _power_mode() -> str | None:
    try:
        done = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    for line in done.stdout.splitlines():
        name, separator, mode = line.partition(":")
        if separator and name.strip() == "NV Power Mode":
            return mode.strip()
    return None


@contextmanager
def _jetson_stats() -> Iterator[Any]:
    """Yield jetson-stats' connection to its service, None without it."""
    try:
        from jtop import jtop  # type: ignore[import-not-found]  # on Jetsons only
    except ImportError:
        yield None
        return
    board = jtop()
    try:
        board.start()
    except Exception:  # jtop's errors share no base class
        yield None
        return
    try:
        yield board
    finally:
        board.close()


def _from_jetson_stats() -> tuple[bool | None, dict[str, float], float | None]:
    with _jetson_stats() as board:
        if board is None:
            return None, {}, None
        readings = {
            name: float(sensor["temp"])
            for name, sensor in board.temperature.items()
            if sensor.get("online", True)
        }
        total = board.power.get("tot") or {}  # empty on carriers without a meter
        watts = float(total["power"]) / 1e3 if "power" in total else None
        locked = None if board.jetson_clocks is None else bool(board.jetson_clocks)
        return locked, readings, watts
