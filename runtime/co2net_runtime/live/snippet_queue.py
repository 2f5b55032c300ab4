"""A bounded queue between a producer of snippets and the network."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from co2net_runtime.live.arrivals import NOTHING, POLL_S, Arrival, Source

Overflow = Literal["block", "drop"]


@dataclass
class QueueBatch:
    """One stream's part of a tick."""

    lost: int = 0  # snippets dropped before the arrivals
    arrivals: list[Arrival] = field(default_factory=list)  # in order
    ended: bool = False  # nothing comes after them


class StreamQueue:
    """Reads one source in a thread of its own, at most `limit` snippets ahead.

    overflow: "block" lets the producer wait; "drop" drops the oldest snippets.
    """

    def __init__(
        self, source: Source, limit: int, overflow: Overflow, arrived: Callable[[], None]
    ) -> None:
        self._source, self._limit, self._overflow = source, limit, overflow
        self._arrived = arrived
        self._queue: deque[Arrival] = deque()
        self._waiting = self._lost = 0
        self._ended = False
        self._stop = threading.Event()
        self._room = threading.Condition()
        self._last_arrival = time.monotonic()
        # seconds for which the source has found nothing
        self.silent_s = 0.0
        self._thread: threading.Thread | None = None

    def start(self, position: int) -> None:
        """Start reading, after `position` snippets if the source can go back."""
        self._last_arrival = time.monotonic()
        self._thread = threading.Thread(target=self._read, args=(position,), daemon=True)
        self._thread.start()

    def take(self, most: int) -> QueueBatch:
        """Return up to about `most` waiting snippets, and how many were dropped before them."""
        with self._room:
            taken = QueueBatch(self._lost)
            self._lost = count = 0
            while self._queue and count < most:
                arrival = self._queue.popleft()
                taken.arrivals.append(arrival)
                count += _size(arrival)
            self._waiting -= count
            taken.ended = self._ended and not self._queue
            self._room.notify_all()
        return taken

    @property
    def has_news(self) -> bool:
        """Whether `take` would return anything."""
        with self._room:
            return bool(self._queue) or self._ended

    def stop(self) -> None:
        """Stop reading; waiting snippets are lost."""
        self._stop.set()
        with self._room:
            self._room.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _read(self, position: int) -> None:
        try:
            for arrival in self._source.arrivals(self._stop, position):
                if arrival is NOTHING:
                    self.silent_s = time.monotonic() - self._last_arrival
                else:
                    self._put(arrival)
                    self._arrived()
                if self._stop.is_set():
                    break
        except Exception as error:  # a thread must not end without a word
            self._put(Arrival(trouble=f"cannot be read: {error}", failed=True))
        with self._room:
            self._ended = True
        self._arrived()

    def _put(self, arrival: Arrival) -> None:
        count = _size(arrival)
        with self._room:
            self.silent_s = 0.0
            if self._overflow == "block":
                while self._waiting and self._waiting + count > self._limit:
                    if self._stop.is_set():
                        return
                    self._room.wait(POLL_S)
            else:
                while self._queue and self._waiting + count > self._limit:
                    dropped = self._queue.popleft()
                    self._waiting -= _size(dropped)
                    self._lost += _snippets(dropped)
            self._queue.append(arrival)
            self._waiting += count
            self._last_arrival = time.monotonic()


def _snippets(arrival: Arrival) -> int:
    rows = arrival.rows
    return arrival.missing + arrival.lost if rows is None else len(rows) if rows.ndim > 1 else 1


def _size(arrival: Arrival) -> int:
    """Return the snippets that wait; a report takes the place of one, so that few can wait."""
    return 1 if arrival.rows is None else max(1, _snippets(arrival))
