"""The health of a live process, for whoever watches it: events, figures, a sign of life."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from co2net_runtime.watching.metrics import Metrics
from co2net_runtime.watching.systemd import notify

# seconds without a look at the streams after which the process counts as hung
_HUNG_S = 30.0
# seconds between two signs of life
_ALIVE_S = 1.0


class Health:
    """Counts what happens to streams and, where asked for, writes it as events."""

    def __init__(
        self, write: Callable[[Mapping[str, Any]], None], metrics: Metrics, every_s: float | None
    ) -> None:
        """Prepare. write takes each event; every_s: seconds between heartbeats, None: no events."""
        self.metrics = metrics
        self._write, self._every_s = write, every_s
        self._beat = self._alive = time.monotonic()
        self._stalled: list[str] = []

    def event(self, kind: str, stream: str, **fields: Any) -> None:
        """Count an event of a stream's health and write it."""
        self.count(kind, stream)
        if self._every_s is not None:
            self._write({"kind": kind, "stream": stream, **fields})

    def count(self, kind: str, stream: str) -> None:
        """Count an event of any kind."""
        self.metrics.add("co2net_live_events_total", stream=stream, kind=kind)

    def dropped(self, stream: str, snippets: int) -> None:
        """Count snippets that were lost to a full queue."""
        self.metrics.add("co2net_live_dropped_snippets_total", snippets, stream=stream)

    def look(self, streams: Iterable[tuple[str, int, float]], stalled: Iterable[str]) -> None:
        """Take (stream, snippets received, seconds of silence) of the open streams; say we live.

        Called at each turn of the loop, a few times a second.
        """
        now = time.monotonic()
        beat = self._every_s is not None and now - self._beat >= self._every_s
        if not beat and now - self._alive < _ALIVE_S:
            return
        self._alive, self._stalled = now, sorted(stalled)
        notify("WATCHDOG=1")
        for stream, received, silent_s in streams:
            self.metrics.set("co2net_live_snippets_total", received, stream=stream)
            self.metrics.set("co2net_live_silent_seconds", silent_s, stream=stream)
            if beat:
                self.event("heartbeat", stream, snippets=received, silent_s=round(silent_s, 3))
        if beat:
            self._beat = now
        self.metrics.update()

    def trouble(self) -> str:
        """Return why the process is not well, or "": it hangs, or streams are silent."""
        silent_s = time.monotonic() - self._alive
        if silent_s > _HUNG_S:
            return f"hung for {silent_s:.0f} s"
        return f"stalled: {', '.join(self._stalled)}" if self._stalled else ""


def wall_clock() -> str:
    """Return the time as RFC 3339 writes it, in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
