"""Attention components of a stream: opened, closed, and decoded as soon as nothing can change.

A component is a run of snippets above the lowest attention threshold. All other thresholds' runs
nest inside, and soft-NMS acts within it alone, so a component that has closed and whose outer
margin is known gives its final segments at once.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.proposals import (
    Floats,
    SnippetSegments,
    activation_probabilities,
    attention_runs,
    localized_classes,
    score_runs,
)
from co2net_runtime.live.row_buffer import RowBuffer, Rows
from co2net_runtime.options import DecodeOptions


@dataclass(frozen=True)
class Component:
    """A run of snippets above the lowest threshold."""

    start: int  # first snippet
    end: int  # snippet behind the last one
    cut: bool = False  # it went on, but grew too long


class Components:
    """The components of one stream, fed with the network's outputs in order.

    At most `longest` snippets form one component (None: any number); a longer one is cut where its
    attention is lowest in its second half. The class probabilities are those of the last `window`
    snippets (or of the component with its margins, if that is longer), unless they are given.
    Memory is bounded by both.

    Published quirk: a threshold gives nothing if the only snippet of the video above it is snippet
    0. Where the probabilities are given, a component at snippet 0 waits until later snippets
    decide this; else what has been seen so far decides.
    """

    def __init__(
        self,
        classes: int,
        options: DecodeOptions,
        *,
        window: int,
        longest: int | None,
        probabilities: Floats | None = None,
    ) -> None:
        self._options = options
        self._thresholds = options.thresholds
        self._window, self._longest, self._given = window, longest, probabilities
        # a row per snippet: cas * attention (C + 1), attention
        self._buffer = RowBuffer(classes + 2)
        self.seen = 0
        self.open_start: int | None = None
        self._closed: list[Component] = []
        # highest attention of all snippets but the first
        self._highest = -math.inf

    def push(self, rows: Rows) -> list[tuple[Component, SnippetSegments]]:
        """Take rows (n, C + 2), cas and attention; return the components that are final now."""
        rows = rows.astype(np.float32)
        rows[:, :-1] *= rows[:, -1:]
        self._buffer.append(rows)
        found = []
        for row in rows:
            self._take(float(row[-1]))
            if self._closed:
                found += self._emit(at_end=False)
        self._forget()
        return found

    def finish(self) -> list[tuple[Component, SnippetSegments]]:
        """End the stream; return the components that are left."""
        if self.open_start is not None:
            self._closed.append(Component(self.open_start, self.seen))
            self.open_start = None
        return self._emit(at_end=True)

    def ongoing(self) -> list[tuple[int, float]]:
        """Return (class, score) of the open component: mean activation, no outer region yet."""
        if self.open_start is None:
            return []
        inside = self._known(self.open_start)[:, :-1]
        probabilities = self._probabilities(self.open_start)
        scores = inside.mean(axis=0, dtype=np.float64)[:-1]
        scores += self._options.class_score_weight * probabilities
        labels = localized_classes(probabilities, self._options)
        return [(int(label), float(scores[label])) for label in labels]

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all that later results depend on, as arrays."""
        closed = [(one.start, one.end, int(one.cut)) for one in self._closed]
        start = -1 if self.open_start is None else self.open_start
        return {
            "rows": self._buffer.rows.copy(),
            "counters": np.array([self._buffer.first, self.seen, start], np.int64),
            "closed": np.array(closed, np.int64).reshape(-1, 3),
            "highest": np.array(self._highest),
        }

    def restore(self, state: dict[str, npt.NDArray[np.generic]]) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: It is of other classes, or not what this program wrote.
        """
        first, seen, start = (int(value) for value in state["counters"])
        rows: Rows = state["rows"]  # type: ignore[assignment]  # whose dtype the caller has checked
        closed = [Component(int(s), int(e), bool(cut)) for s, e, cut in state["closed"]]
        spans = [(one.start, one.end) for one in closed] + [(start, seen)] * (start >= 0)
        if first < 0 or first + len(rows) != seen or not np.isfinite(rows).all():
            raise ValueError("rows that do not fit their counters")
        if any(not first <= begin < end <= seen for begin, end in spans):
            raise ValueError("components outside the rows")
        self._highest = float(state["highest"])
        if not self._highest <= 1:
            raise ValueError("attention above 1")
        self._buffer.reset(first, rows)
        self.seen, self.open_start, self._closed = seen, None if start < 0 else start, closed

    def _known(self, start: int, end: int | None = None) -> Rows:
        """Return the rows of the snippets [start, end), or from start to the last one taken.

        Rows that have arrived but are not taken yet are left out, so that results do not depend on
        block sizes.
        """
        first = self._buffer.first
        end = self.seen if end is None else min(end, self.seen)
        return self._buffer.rows[start - first : end - first]

    def _take(self, attention: float) -> None:
        index = self.seen
        self.seen += 1
        if index:
            self._highest = max(self._highest, attention)
        if attention > self._thresholds[0]:
            if self.open_start is None:
                self.open_start = index
            if self._longest is not None and self.seen - self.open_start >= self._longest:
                self._cut(self.open_start)
        elif self.open_start is not None:
            self._closed.append(Component(self.open_start, index))
            self.open_start = None

    def _cut(self, start: int) -> None:
        middle = start + max(1, (self.seen - start) // 2)
        tail = self._known(middle)[:, -1]
        place = middle + int(tail.argmin()) if len(tail) else self.seen
        self._closed.append(Component(start, place, cut=True))
        self.open_start = place if place < self.seen else None

    def _outer(self, component: Component) -> tuple[int, int]:
        """Return the first and the last snippet of its outer region (method, section 4, step 4)."""
        margin = self._options.outer_margin * (component.end - component.start)
        return int(max(component.start - margin, 0)), int(component.end - 1 + margin)

    def _emit(self, *, at_end: bool) -> list[tuple[Component, SnippetSegments]]:
        found, waiting = [], []
        for component in self._closed:
            final = at_end or (
                self._outer(component)[1] < self.seen and not self._undecided(component)
            )
            if final:
                segments = self._decode(component)
                if len(segments):
                    found.append((component, segments))
            else:
                waiting.append(component)
        self._closed = waiting
        return found

    def _alone(self, component: Component) -> npt.NDArray[np.bool_]:
        """Return for each threshold whether snippet 0 is the only one above it so far."""
        if component.start:
            return np.zeros(len(self._thresholds), bool)
        first = float(self._known(0, 1)[0, -1])
        alone: npt.NDArray[np.bool_] = (first > self._thresholds) & (
            self._highest <= self._thresholds
        )
        return alone

    def _undecided(self, component: Component) -> bool:
        return self._given is not None and bool(self._alone(component).any())

    def _decode(self, component: Component) -> SnippetSegments:
        # a snippet below all thresholds on either side: the component's ends are its own
        attention = np.pad(self._known(component.start, component.end)[:, -1], 1)
        start, end, level = attention_runs(attention, self._thresholds)
        keep = ~((start == 1) & (end == 2) & self._alone(component)[level])
        shift = component.start - 1
        probabilities = self._probabilities(component.start)
        # all that its runs can see: the cost is the component's, not that of what is remembered
        low, last = self._outer(component)
        low = max(low, self._buffer.first)
        return score_runs(
            self._known(low, last + 1)[:, :-1],
            start[keep] + shift,
            end[keep] + shift,
            level[keep],
            probabilities,
            localized_classes(probabilities, self._options),
            self._options,
            first=low,
        )

    def _probabilities(self, start: int) -> Floats:
        if self._given is not None:
            return self._given
        begin = min(max(self.seen - self._window, self._buffer.first), start)
        return activation_probabilities(self._known(begin)[:, :-1], self._options)

    def _forget(self) -> None:
        """Drop the rows that no later result depends on."""
        if self._longest is None:
            return
        starts = [one.start for one in self._closed]
        starts.append(self.seen if self.open_start is None else self.open_start)
        margin = math.ceil(self._options.outer_margin * self._longest) + 1
        self._buffer.forget(min(self.seen - self._window, min(starts) - margin))
