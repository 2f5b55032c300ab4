"""Sources -> a LivePool -> JSON lines, tick by tick, to the end of all streams or to a signal."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.files.text import number_of
from co2net_runtime.live.arrivals import Array
from co2net_runtime.live.health import Health, wall_clock
from co2net_runtime.live.pool import Event, LivePool
from co2net_runtime.live.snippet_queue import QueueBatch, StreamQueue
from co2net_runtime.live.state_file import StateFile
from co2net_runtime.watching.metrics import Metrics
from co2net_runtime.watching.systemd import notify

OnBad = Literal["skip", "end"]

# seconds between looks for a silent producer and for a signal
_WAIT_S = 0.2
# snippets of one stream in a tick
_TICK_SNIPPETS = 64
# beyond it a feature is not a network's output but a misread stream: I3D's lie below 100
_LARGEST = 1e6


@dataclass(frozen=True)
class JobOptions:
    """How streams are read and written. Times are seconds."""

    tick_s: float = 0.0  # what arrives within it shares a batch
    stall_s: float = 10.0  # a producer silent for longer is reported
    end_after_s: float | None = None  # a stream silent for longer ends; None: never
    on_bad: OnBad = "skip"  # the previous snippet replaces a bad one, or the stream ends
    min_score: float | None = None  # leave out what scores lower
    best: bool = False  # of each component and class the best segment only
    health_s: float | None = None  # between heartbeats; None: no events of the streams' health


class LiveJob:
    """One run over many streams.

    Attributes:
        failed: Names of the streams that ended by an error.
    """

    def __init__(
        self,
        pool: LivePool,
        queues: Mapping[str, StreamQueue],
        options: JobOptions,
        *,
        state: StateFile | None = None,
        write: Callable[[str], None],
        note: Callable[[str], None],
        arrived: threading.Event,
        metrics: Metrics | None = None,
        model_sha256: str = "",
    ) -> None:
        """Prepare.

        Args:
            pool: The model.
            queues: The streams.
            options: How they are read and written.
            state: Where they are saved.
            write: Takes each JSON line.
            note: Takes each message.
            arrived: Set by the queues.
            metrics: Takes the figures.
            model_sha256: Named in each line.
        """
        self.failed: set[str] = set()
        self._pool, self._queues, self._options = pool, dict(queues), options
        self._state, self._write, self._note = state, write, note
        self._arrived = arrived
        self._previous: dict[str, Array] = {}
        self._stalled: set[str] = set()
        self._model_sha256 = model_sha256
        self.health = Health(self._line, metrics or Metrics(), options.health_s)

    def run(self, interrupted: threading.Event) -> None:
        """Localize until all streams have ended or `interrupted` is set.

        An interrupted run saves its state, and the next one goes on. Without a state file, or if it
        cannot be written, open segments are written as if the streams had ended.

        Raises:
            InputError: The state file is damaged or belongs to another model or other options.
            BackendError: The engine failed; open segments are written before.
        """
        self._restore()
        notify("READY=1")
        for name, queue in self._queues.items():
            queue.start(self._pool.received(name))
        try:
            while self._queues and not interrupted.is_set():
                if self._arrived.wait(_WAIT_S):
                    if self._options.tick_s:
                        interrupted.wait(self._options.tick_s)
                    self._arrived.clear()
                    self._tick()
                self._look_for_silence()
                self.health.look(
                    [
                        (name, self._pool.received(name), queue.silent_s)
                        for name, queue in self._queues.items()
                    ],
                    self._stalled & self._queues.keys(),
                )
        except Co2netError:
            self._finish()
            raise
        finally:
            for queue in self._queues.values():
                queue.stop()
        self._finish()
        self.health.metrics.update(force=True)

    def _finish(self) -> None:
        """Save the streams that have not ended, or write what is open in them."""
        if self._state is not None:
            self._state.save(self._pool.state, force=True)
        if self._state is None or self._state.failing:
            for name in self._queues:
                try:
                    self._emit(self._pool.flush(name))
                except Co2netError as error:
                    self.failed.add(name)
                    self._note(f"{name}: {error}")

    def _tick(self) -> None:
        blocks: dict[str, Array] = {}
        ended: list[str] = []
        for name, queue in self._queues.items():
            batch = queue.take(_TICK_SNIPPETS)
            rows, failed = self._collect(name, batch)
            if rows:
                blocks[name] = np.concatenate(rows)
            if batch.arrivals:
                self._stalled.discard(name)
            if failed:
                self.failed.add(name)
            if failed or batch.ended:
                ended.append(name)
            elif queue.has_news:
                self._arrived.set()
        ended += [name for name in self._push(blocks) if name not in ended]
        for name in ended:
            self._end(name)
        if self._state is not None:
            self._state.save(self._pool.state, force=bool(ended))

    def _collect(self, name: str, batch: QueueBatch) -> tuple[list[Array], bool]:
        """Return the snippets to push of one stream, and whether it failed."""
        rows: list[Array] = []
        if batch.lost:
            self._note(
                f"{name}: {number_of(batch.lost, 'snippet')} dropped: the producer is faster"
            )
            self.health.dropped(name, batch.lost)
            self._emit(self._pool.skip(name, batch.lost))
        for arrival in batch.arrivals:
            failed = arrival.failed or (arrival.missing > 0 and self._options.on_bad == "end")
            if arrival.trouble:
                where = f" (snippet {self._at(name, rows)})" if arrival.missing else ""
                follows = self._follows(arrival.missing, known=name in self._previous)
                self._note(f"{name}: {arrival.trouble}{where}{follows}")
                kind = "disconnected" if arrival.disconnected else "bad_input"
                self.health.event(
                    kind, name, text=arrival.trouble, snippets=arrival.missing,
                    at_snippet=self._at(name, rows),
                )  # fmt: skip
            if failed:
                return rows, True
            if arrival.gap or arrival.lost:
                rows = self._skip(name, rows, arrival.lost)
            if arrival.missing:
                rows = self._replace(name, rows, arrival.missing)
            if arrival.rows is not None:
                rows, failed = self._check(name, rows, np.atleast_2d(arrival.rows))
                if failed:
                    return rows, True
        return rows, False

    def _check(self, name: str, before: list[Array], new: Array) -> tuple[list[Array], bool]:
        """Return `before` and the new snippets (n, D), bad ones replaced, and whether to end."""
        with np.errstate(over="ignore"):
            new = new.astype(np.float32)
        bad = np.logical_not((np.abs(new) <= _LARGEST).all(axis=1))  # NaN, too
        if not bad.any():
            if len(new):
                self._previous[name] = new[-1:].copy()
            return ([*before, new] if len(new) else before), False
        first = self._at(name, before) + int(bad.argmax())
        known = name in self._previous or not bad[0]
        text = f"NaN, infinity or values beyond {_LARGEST:.0e}"
        count = int(bad.sum())
        which = f"snippet {first} holds" if count == 1 else f"{count} snippets from {first} on hold"
        self._note(f"{name}: {which} {text}{self._follows(1, known=known)}")
        self.health.event("bad_input", name, text=text, snippets=count, at_snippet=first)
        if self._options.on_bad == "end":
            good = new[: int(bad.argmax())]
            return ([*before, good] if len(good) else before), True
        if bad[0]:  # there is nothing before it in this block
            count = int(bad.argmin()) if not bad.all() else len(new)
            before = self._replace(name, before, count)
            new, bad = new[count:], bad[count:]
        if len(new):
            good = np.maximum.accumulate(np.where(bad, 0, np.arange(len(new))))
            new = new[good]
            self._previous[name] = new[-1:].copy()
            before = [*before, new]
        return before, False

    def _replace(self, name: str, rows: list[Array], count: int) -> list[Array]:
        """Let the previous snippet replace `count` bad ones, so that later times stay right."""
        if name in self._previous and count <= _TICK_SNIPPETS:
            return [*rows, self._previous[name].repeat(count, 0)]
        return self._skip(name, rows, count)

    def _skip(self, name: str, rows: list[Array], count: int) -> list[Array]:
        """Push the snippets before a gap of `count`; return those after it: none yet."""
        if rows:
            self._push({name: np.concatenate(rows)})
        self._emit(self._pool.skip(name, count))
        return []

    def _push(self, blocks: Mapping[str, Array]) -> list[str]:
        """Push snippets and write the events; return the streams that have to end."""
        if not blocks:
            return []
        self._emit(self._pool.push(blocks))
        broken = self._pool.restarted & set(blocks) if self._options.on_bad == "end" else set()
        self.failed |= broken
        return sorted(broken)

    def _at(self, name: str, pending: list[Array]) -> int:
        return self._pool.received(name) + sum(map(len, pending))

    def _follows(self, missing: int, *, known: bool) -> str:
        if not missing:
            return ""
        if self._options.on_bad == "end":
            return "; the stream ends"
        replaced = known and missing <= _TICK_SNIPPETS
        return "; the previous snippet replaces them" if replaced else "; left out"

    def _look_for_silence(self) -> None:
        for name, queue in list(self._queues.items()):
            silent = queue.silent_s
            if silent > self._options.stall_s and name not in self._stalled:
                self._stalled.add(name)
                self._note(f"{name}: no snippet for {silent:.0f} s; waiting")
                self.health.event("stalled", name, silent_s=round(silent, 3))
            limit = self._options.end_after_s
            if limit is not None and silent > limit and not queue.has_news:
                self._note(f"{name}: no snippet for {silent:.0f} s; the stream ends")
                self._end(name)

    def _end(self, name: str) -> None:
        self._queues.pop(name).stop()
        self._emit(self._pool.flush(name))

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            if self._options.min_score is not None and event.score < self._options.min_score:
                continue
            if self._options.best and event.rank:
                continue
            self.health.count(event.kind, event.stream)
            self._line(asdict(event))

    def _line(self, event: Mapping[str, Any]) -> None:
        origin = {"time": wall_clock(), "model_sha256": self._model_sha256}
        self._write(json.dumps({**event, **origin}))

    def _restore(self) -> None:
        state = self._state.load() if self._state is not None else None
        if self._state is None or state is None:
            return
        try:
            self._pool.restore(state)
        except InputError as error:
            raise InputError(f"{self._state.path}: {error}: move it away to start over") from error
        self._note(f"going on from {self._state.path}")
