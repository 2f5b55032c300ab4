"""Counters, gauges and histograms in Prometheus' text format, for a textfile collector or a scrape.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/. No label is a video's name:
each value of a label is a series that is kept forever.
"""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from co2net_runtime.files.atomic import write_text

# name -> its type, and what it counts
KNOWN: Mapping[str, tuple[Literal["counter", "gauge", "histogram"], str]] = {
    "co2net_model_info": ("gauge", "The model and its engine; always 1."),
    "co2net_run_seconds": ("gauge", "Wall time of the run so far."),
    "co2net_update_timestamp_seconds": ("gauge", "Unix time of these figures."),
    "co2net_videos_total": ("counter", "Videos by result: done, failed, skipped."),
    "co2net_video_seconds_total": ("counter", "Seconds of video localized."),
    "co2net_records_total": ("counter", "Segments or classes written."),
    "co2net_shards_total": ("counter", "Shards by result: done, failed, skipped."),
    "co2net_stage_seconds": ("histogram", "Wall time of a read, a network call, a decoding."),
    "co2net_live_snippets_total": ("counter", "Snippets of each stream, lost ones included."),
    "co2net_live_dropped_snippets_total": ("counter", "Snippets dropped from a full queue."),
    "co2net_live_events_total": ("counter", "Events of each stream by kind."),
    "co2net_live_silent_seconds": ("gauge", "Seconds without a snippet."),
}

# upper bounds of a histogram's buckets, in seconds
BUCKETS = (0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 60.0)
_Labels = tuple[tuple[str, str], ...]

# seconds between two writes of a file while a run goes on
_EVERY_S = 10.0


class Metrics:
    """The figures of one run; may be used from several threads."""

    def __init__(self, path: Path | None = None) -> None:
        """Start the clock. path: the file that `update` writes; None: none."""
        self._path, self._started, self._written = path, time.monotonic(), -_EVERY_S
        self._values: dict[str, dict[_Labels, float]] = {}
        self._observed: dict[str, dict[_Labels, list[float]]] = {}
        self._lock = threading.Lock()

    def set(self, name: str, value: float, **labels: str) -> None:
        """Give a counter or gauge its value."""
        with self._lock:
            self._values.setdefault(name, {})[tuple(labels.items())] = value

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = tuple(labels.items())
        with self._lock:
            series = self._values.setdefault(name, {})
            series[key] = series.get(key, 0) + value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add a value to a histogram."""
        with self._lock:
            series = self._observed.setdefault(name, {})
            # counts of values up to each bound, of all, and their sum
            counts = series.setdefault(tuple(labels.items()), [0.0] * (len(BUCKETS) + 2))
            for index, bound in enumerate(BUCKETS):
                counts[index] += value <= bound
            counts[-2] += 1
            counts[-1] += value

    def model(self, made_by: Mapping[str, Any]) -> None:
        """Say which model runs, from the origin of the results."""
        self.set(
            "co2net_model_info",
            1,
            sha256=made_by["model_sha256"],
            precision=made_by["precision"],
            engine=made_by["engine"]["engine"],
            version=made_by["co2net"],
        )

    def text(self) -> str:
        """Return all figures in the text format."""
        self.set("co2net_run_seconds", time.monotonic() - self._started)
        self.set("co2net_update_timestamp_seconds", time.time())
        lines = []
        with self._lock:
            for name, (kind, text) in KNOWN.items():
                if name in self._values or name in self._observed:
                    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                lines += [
                    f"{name}{_labels(labels)} {float(value)!r}"
                    for labels, value in self._values.get(name, {}).items()
                ]
                for labels, counts in self._observed.get(name, {}).items():
                    lines += _histogram(name, labels, counts)
        return "\n".join([*lines, ""])

    def update(self, *, force: bool = False) -> None:
        """Write the file if it is some seconds old; it is replaced whole.

        Raises InputError if it cannot be written.
        """
        now = time.monotonic()
        if self._path is not None and (force or now - self._written >= _EVERY_S):
            self._written = now
            write_text(self._path, self.text())


def _histogram(name: str, labels: _Labels, counts: list[float]) -> list[str]:
    bounds = [*map(repr, BUCKETS), "+Inf"]
    lines = [
        f"{name}_bucket{_labels((*labels, ('le', bound)))} {count!r}"
        for bound, count in zip(bounds, counts, strict=False)
    ]
    own = _labels(labels)
    return [*lines, f"{name}_sum{own} {counts[-1]!r}", f"{name}_count{own} {counts[-2]!r}"]


def _labels(labels: _Labels) -> str:
    escaped = (
        (name, text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for name, text in labels
    )
    inner = ",".join(f'{name}="{text}"' for name, text in escaped)
    return f"{{{inner}}}" if inner else ""
