"""Run files: the results of one measurement, its machine and its command (one JSON file)."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from co2net_benchmarks.hardware.machine import Machine
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.records import from_mapping, take_schema_version, to_mapping
from co2net_runtime.files.text import read_json

FORMAT = "co2net-bench-run"
REPORT_FORMAT = "co2net-bench-report"
SCHEMA_VERSION = 3
_READABLE = (1, 2, SCHEMA_VERSION)


@dataclass(frozen=True)
class Run:
    """One run of a co2net-bench command; docs/benchmark-schema.md describes the file."""

    kind: str  # the command: "latency", "parity" or "accuracy"
    created: str  # UTC, ISO 8601
    command: tuple[str, ...]  # as it was typed
    machine: Machine
    settings: dict[str, Any]  # the options in effect
    results: dict[str, Any]  # LatencyResults, ParityResults or AccuracyResults, by kind

    def to_mapping(self) -> dict[str, Any]:
        """Return the run file's content."""
        return {"format": FORMAT, "schema_version": SCHEMA_VERSION, **to_mapping(self)}

    def to_json(self) -> str:
        """Return the run file's text."""
        return json.dumps(self.to_mapping(), indent=1, allow_nan=False) + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the run file atomically. Raises InputError if the folder cannot be written."""
        write_text(path, self.to_json())


def now() -> str:
    """Return the current time as run files write it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def report_json(runs: Sequence[Run]) -> str:
    """Return the JSON beside a report: all its runs in one file."""
    document = {
        "format": REPORT_FORMAT,
        "schema_version": SCHEMA_VERSION,
        "runs": [run.to_mapping() for run in runs],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def read_runs(path: str | os.PathLike[str]) -> tuple[Run, ...]:
    """Read a run file, or all runs of a report's JSON.

    Raises:
        InputError: It is missing, not a run file, of an unknown schema version, or damaged.
    """
    document = read_json(path, "a run of co2net-bench")
    if isinstance(document, dict) and document.get("format") == REPORT_FORMAT:
        _take_header(document, REPORT_FORMAT, path)
        entries = document.get("runs")
        if not isinstance(entries, list):
            raise InputError(f"{path}: a damaged report: its 'runs' are not a list")
        return tuple(
            _run(entry, f"{path}: run {number}") for number, entry in enumerate(entries, 1)
        )
    return (_run(document, path),)


def _run(document: Any, where: str | os.PathLike[str]) -> Run:
    version = _take_header(document, FORMAT, where)
    _require_finite(document, where)
    results = document.get("results")
    if version < SCHEMA_VERSION and isinstance(results, dict):
        results.pop("server", None)  # a scenario of version 1
        results.pop("energy_meter", None)  # of versions 1 and 2, as the next
        for row in results.get("offline") or ():
            row.pop("joules_per_video_minute", None)
    return from_mapping(Run, document, str(where))


def _require_finite(value: Any, where: str | os.PathLike[str]) -> None:
    """Raise InputError for NaN and infinity, which no run has and no table or chart can show."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _require_finite(item, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: a damaged run: it holds the number {value}")


def _take_header(document: Any, wanted: str, where: str | os.PathLike[str]) -> int:
    if not isinstance(document, dict) or document.pop("format", None) != wanted:
        raise InputError(
            f"{where}: not a run file of co2net-bench: write one with 'co2net-bench latency ... "
            "--out'"
        )
    remedy = "measure again or update co2net"
    return take_schema_version(document, str(where), _READABLE, remedy)
