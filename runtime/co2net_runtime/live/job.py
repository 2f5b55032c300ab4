"""Sources -> a LivePool -> JSON lines, tick by tick, to the end of all streams or to a signal."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path
from co2net_runtime.live.pool import Event, LivePool
from co2net_runtime.live.snippet_queue import StreamQueue

OnBad = Literal["skip", "end"]

# how often a stalled producer and a signal are looked for
_WAIT_S = 0.2


@dataclass(frozen=True)
class JobOptions:
    """How streams are read and written.

    tick_s: what arrives within so much time shares a batch. stall_s: a producer silent for longer
    is reported. end_after_s: and its stream ends after so much; None for never. on_bad: "skip"
    puts the previous snippet in the place of a damaged one, "end" ends the stream. state: file that
    the streams are saved in every state_every_s, and go on from. min_score: leave out what scores
    lower. best: of each component and class the best segment only.
    """

    tick_s: float = 0.0
    stall_s: float = 10.0
    end_after_s: float | None = None
    on_bad: OnBad = "skip"
    state: Path | None = None
    state_every_s: float = 5.0
    min_score: float | None = None
    best: bool = False


class LiveJob:
    """One run. failed: names of the streams that ended by an error."""

    def __init__(
        self,
        pool: LivePool,
        queues: Mapping[str, StreamQueue],
        options: JobOptions,
        *,
        write: Callable[[str], None],
        note: Callable[[str], None],
        arrived: threading.Event,
    ) -> None:
        """Prepare. write takes each JSON line, note each message; arrived: set by the queues."""
        self.failed: set[str] = set()
        self._pool, self._queues, self._options = pool, dict(queues), options
        self._write, self._note, self._arrived = write, note, arrived
        self._previous: dict[str, npt.NDArray[Any]] = {}
        self._stalled: set[str] = set()
        self._saved_at = time.monotonic()

    def run(self, interrupted: threading.Event) -> None:
        """Localize until all streams have ended or `interrupted` is set.

        An interrupted run saves its state, and the next goes on; without a state file, what is open
        is written as if the streams had ended.
        """
        self._restore()
        for name, queue in self._queues.items():
            queue.start(self._pool.received(name))
        try:
            while self._queues and not interrupted.is_set():
                if self._arrived.wait(_WAIT_S):
                    if self._options.tick_s:
                        interrupted.wait(self._options.tick_s)
                    self._arrived.clear()
                    self._tick()
                self._look_for_stalls()
        finally:
            for queue in self._queues.values():
                queue.stop()
        if self._options.state is not None:
            self._save(force=True)
        else:
            for name in list(self._queues):
                self._emit(self._pool.flush(name))

    def _tick(self) -> None:
        blocks: dict[str, npt.NDArray[Any]] = {}
        ended = []
        for name, queue in self._queues.items():
            taken = queue.take(64)
            if taken.lost:
                self._note(f"{name}: {taken.lost} snippets dropped: the producer is faster")
                self._emit(self._pool.skip(name, taken.lost))
            rows: list[npt.NDArray[Any]] = []
            failed = False
            for arrival in taken.arrivals:
                if arrival.trouble:
                    self._note(f"{name}: {arrival.trouble}")
                failed = failed or arrival.failed
                if arrival.gap:
                    self._push({name: rows})
                    rows = []
                    self._emit(self._pool.skip(name, 0))
                if arrival.rows is not None and not failed:
                    good, failed = self._checked(name, np.atleast_2d(arrival.rows))
                    rows += good
            if rows:
                blocks[name] = np.concatenate(rows)
            if taken.arrivals:
                self._stalled.discard(name)
            if failed:
                self.failed.add(name)
            if failed or taken.ended:
                ended.append(name)
            elif queue.has_news:
                self._arrived.set()
        if blocks:
            self._emit(self._pool.push(blocks))
        for name in ended:
            self._end(name)
        self._save(force=bool(ended))

    def _push(self, blocks: dict[str, list[npt.NDArray[Any]]]) -> None:
        for name, rows in blocks.items():
            if rows:
                self._emit(self._pool.push({name: np.concatenate(rows)}))

    def _checked(self, name: str, rows: npt.NDArray[Any]) -> tuple[list[npt.NDArray[Any]], bool]:
        """Return the snippets with the damaged ones replaced, and whether the stream must end."""
        width = self._pool.contract.feature_dim
        end = self._options.on_bad == "end"
        at = self._pool.received(name)
        if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind != "f":
            self._note(
                f"{name}: a block of shape {rows.shape}, {rows.dtype}, near snippet {at}: expected "
                f"floating-point snippets of {width} channels; "
                f"{'the stream ends' if end else 'left out'}"
            )
            return self._stand_in(name, len(rows)), end
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            what = "the stream ends" if end else "the previous snippet stands in"
            self._note(f"{name}: {bad.sum()} snippets near {at} hold NaN or infinity; {what}")
            if end:
                rows = rows[: int(bad.argmax())]
                return [rows] if len(rows) else [], True
            good: list[npt.NDArray[Any]] = []
            for row, is_bad in zip(rows, bad, strict=True):
                if is_bad:
                    good += self._stand_in(name, 1)
                else:
                    good.append(row[None])
                    self._previous[name] = row[None]
            return good, False
        if len(rows):
            self._previous[name] = rows[-1:].copy()
        return [rows] if len(rows) else [], False

    def _stand_in(self, name: str, count: int) -> list[npt.NDArray[Any]]:
        """Return snippets in the place of bad ones, so that later times stay right."""
        if name in self._previous:
            return [self._previous[name]] * count
        self._emit(self._pool.skip(name, count))
        return []

    def _look_for_stalls(self) -> None:
        for name, queue in list(self._queues.items()):
            silent = queue.silent_s
            if silent > self._options.stall_s and name not in self._stalled:
                self._stalled.add(name)
                self._note(f"{name}: no snippet for {silent:.0f} s; waiting")
            limit = self._options.end_after_s
            if limit is not None and silent > limit and not queue.has_news:
                self._note(f"{name}: no snippet for {silent:.0f} s; the stream ends")
                self._end(name)

    def _end(self, name: str) -> None:
        self._queues.pop(name).stop()
        self._emit(self._pool.flush(name))

    def _emit(self, events: list[Event]) -> None:
        options = self._options
        for event in events:
            if options.min_score is not None and event.score < options.min_score:
                continue
            if options.best and event.rank:
                continue
            self._write(json.dumps(asdict(event)))

    def _restore(self) -> None:
        path = self._options.state
        if path is None or not path.exists():
            return
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                state = dict(archive)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: damaged, no state of streams: {error}") from error
        try:
            self._pool.restore(state)
        except InputError as error:
            raise InputError(f"{path}: {error}: move it away to begin anew") from error
        self._note(f"going on from {path}")

    def _save(self, *, force: bool) -> None:
        path = self._options.state
        if path is None or not (
            force or time.monotonic() - self._saved_at >= self._options.state_every_s
        ):
            return
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **self._pool.state())  # type: ignore[arg-type]  # numpy takes its own allow_pickle for one of the arrays
            file.flush()
            os.fsync(file.fileno())
        self._saved_at = time.monotonic()
