"""Run files: what one measurement found, on which machine, by which command (one JSON file)."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from co2net_benchmarks.hardware.machine import Machine
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.records import from_mapping, take_schema_version, to_mapping

FORMAT = "co2net-bench-run"
REPORT_FORMAT = "co2net-bench-report"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """One run of a co2net-bench command; docs/benchmark-schema.md describes the file.

    kind: the command ("latency", "parity", "accuracy"). created: UTC, ISO 8601. command: as it
    was typed. settings: the options in effect. results: what was measured, by kind.
    """

    kind: str
    created: str
    command: tuple[str, ...]
    machine: Machine
    settings: dict[str, Any]
    results: dict[str, Any]

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
    """Return the present time as run files write it."""
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

    Raises InputError if it is missing, no such file, of another schema version, or damaged.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the run: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: expected a run file of co2net-bench, found no JSON") from error
    if isinstance(document, dict) and document.get("format") == REPORT_FORMAT:
        _take_header(document, REPORT_FORMAT, path)
        entries = document.get("runs")
        if not isinstance(entries, list):
            raise InputError(f"{path}: a damaged report: its 'runs' are no list")
        return tuple(
            _run(entry, f"{path}: run {number}") for number, entry in enumerate(entries, 1)
        )
    return (_run(document, path),)


def _run(document: Any, where: str | os.PathLike[str]) -> Run:
    _take_header(document, FORMAT, where)
    return from_mapping(Run, document, str(where))


def _take_header(document: Any, wanted: str, where: str | os.PathLike[str]) -> None:
    if not isinstance(document, dict) or document.pop("format", None) != wanted:
        raise InputError(
            f"{where}: no run file of co2net-bench: write one with 'co2net-bench latency ... --out'"
        )
    remedy = "measure again or update co2net"
    take_schema_version(document, str(where), (SCHEMA_VERSION,), remedy)
