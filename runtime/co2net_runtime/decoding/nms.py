"""Gaussian soft-NMS over segments of which any two are nested or apart.

The runs of one attention curve above several thresholds are such a family, and it makes soft-NMS
cheap: a segment decays only the segments around it, at most one per lower threshold, and those
inside it. So N segments of K thresholds have at most N (K - 1) pairs to look at, not N^2 / 2.
"""

from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# what the heap holds at a time: at least this many segments, else this share of them
SMALLEST_WINDOW, WINDOWS = 8192, 64
# segments whose containers are found at a time
ROWS = 8192


class NestedSegments:
    """The segments of one video and how they decay each other, for the scores of any class.

    Published quirk: tIoU takes segments as one snippet longer than they are: intersection
    max(0, min(end) - max(start) + 1), length end - start + 1. Segments with a gap between them
    still do not meet.
    """

    def __init__(self, start: Integers, end: Integers, level: Integers, sigma: float) -> None:
        """Find which segments contain which.

        Args:
            start: (N,) first snippet.
            end: (N,) snippet behind the last one.
            level: (N,) index of the threshold, 0 the lowest. Segments are ordered by level, then
                by start; each lies within one segment of each lower level and has a gap of at
                least one snippet to all others of its level (`proposals.attention_runs` makes
                such families).
            sigma: Of the Gaussian, exp(-tIoU^2 / sigma).
        """
        # Below, segments are numbered in preorder: by start, the outer before the inner. So the
        # segments inside segment i are those from i + 1 up to the first that starts at its end.
        self._preorder = np.lexsort((level, start)).astype(np.int32)
        start, end, level = start[self._preorder], end[self._preorder], level[self._preorder]
        containers, decay = _pairs(level, end - start + 1, sigma)

        # Pairs (segment, container) of segment i are those from first[i] to first[i + 1], in the
        # order of the containers' levels.
        self._level = _sequence(level, "h")
        self._stop = _sequence(np.searchsorted(start, end), "i")
        self._first = _sequence(np.append(0, np.cumsum(level)), "q")
        self._containers = _sequence(containers, "i")
        self._decay = _sequence(decay, "d")

    def soft_nms(self, scores: Floats) -> tuple[Integers, Floats]:
        """Let the segments decay each other, the highest score first (method, section 4, step 5).

        Repeatedly the highest score is taken and the others are multiplied by
        exp(-tIoU^2 / sigma). Nothing is dropped.

        Published quirks: negative scores move up. Of equal scores the first in the list is taken,
        in a list that reorders itself: the head goes to the place of the one that was taken.

        Args:
            scores: (N,) float64.

        Returns:
            The segments in the order they are taken, (N,) int64, and the score each had then, (N,)
            float64.

        Raises:
            ValueError: A score is NaN or infinite.
        """
        if not np.isfinite(scores).all():
            raise ValueError("scores hold values that are not finite (NaN or infinite)")
        level, stop, first = self._level, self._stop, self._first
        containers, decay = self._containers, self._decay
        cost = _sequence(-scores[self._preorder], "d")
        place = _sequence(self._preorder, "i")
        at = _sequence(np.argsort(self._preorder), "i")  # the list itself: at[place[i]] == i
        count = len(scores)
        order = _sequence(np.zeros(count), "i")
        taken_cost = _sequence(np.zeros(count), "d")
        # The heap holds (cost, place, segment) with cost = -score, the smallest first, ties by
        # place in the published list; of all segments left those up to the cost `highest`. An entry
        # may be out of date, but never behind the truth: what delays a segment (a decayed score, a
        # later place) is looked up when its entry reaches the top, what brings it forward (a
        # negative score that rises) is pushed as a new entry.
        heap: list[tuple[float, int, int]] = []
        highest = np.inf
        rising = False

        for head in range(count):
            while True:
                if not heap:
                    heap, highest = _nearest(at, cost, place, head)
                entry_cost, entry_place, taken = heap[0]
                if entry_cost >= 0 and not rising:
                    # no positive score is left: from here on scores rise
                    rising = True
                    heap, highest = _nearest(at, cost, place, head)
                elif place[taken] < 0 or cost[taken] > highest:
                    heappop(heap)
                elif entry_cost != cost[taken] or entry_place != place[taken]:
                    heapreplace(heap, (cost[taken], place[taken], taken))
                else:
                    break
            heappop(heap)
            order[head], taken_cost[head] = taken, entry_cost
            moved = at[head]
            at[entry_place], place[moved] = moved, entry_place
            place[taken] = -1

            # segments already taken are decayed along with the others, which nobody sees
            own_level = level[taken]
            low, high = first[taken], first[taken + 1]
            outer = containers[low:high]
            inner = range(taken + 1, stop[taken])
            for i, factor in zip(outer, decay[low:high]):  # noqa: B905  # equally long, and hot
                cost[i] *= factor
            for i in inner:
                cost[i] *= decay[first[i] + own_level]
            if rising:
                for i in (*outer, *inner):
                    if place[i] >= 0 and cost[i] <= highest:
                        heappush(heap, (cost[i], place[i], i))
        taken_order = self._preorder[np.asarray(order, np.int32)].astype(np.int64)
        return taken_order, -np.asarray(taken_cost, np.float64)


def _sequence(values: npt.NDArray[Any], code: str) -> Any:
    """Return plain numbers for a loop over single ones, where numpy is slow.

    Few become a list, the fastest; many an array of `code`, whose items cost 8 bytes or fewer.
    """
    if len(values) <= SMALLEST_WINDOW:
        return values.tolist()
    sequence = array(code)
    for begin in range(0, len(values), ROWS):
        sequence.frombytes(values[begin : begin + ROWS].astype(code).tobytes())
    return sequence


def _nearest(
    at: Sequence[int], cost: Sequence[float], place: Sequence[int], head: int
) -> tuple[list[tuple[float, int, int]], float]:
    """Return a heap of the segments of smallest cost among at[head:], and the largest cost in it.

    That cost is infinite where all are in it. Memory stays small however many are left.
    """
    left = np.asarray(at)[head:]
    costs = np.asarray(cost)[left]
    window = max(SMALLEST_WINDOW, len(cost) // WINDOWS)
    highest = np.inf
    if len(left) > window:
        highest = float(np.partition(costs, window)[window])
        near = costs <= highest
        left, costs = left[near], costs[near]
    places = np.asarray(place)[left]
    heap = list(zip(costs.tolist(), places.tolist(), left.tolist(), strict=True))
    heapify(heap)
    return heap, highest


def _pairs(level: Integers, length: Integers, sigma: float) -> tuple[npt.NDArray[np.int32], Floats]:
    """Return the containers of each segment and how much they decay each other.

    Both are (P,), one segment after another, its containers from the lowest level up.

    Args:
        level: (N,) of segments in preorder.
        length: (N,) snippets, plus one.
        sigma: Of the Gaussian.
    """
    levels = np.arange(level.max(initial=0) + 1)
    latest = np.zeros(len(levels), np.int32)
    containers, decay = array("i"), array("d")
    for begin in range(0, len(level), ROWS):
        own = level[begin : begin + ROWS]
        numbers = np.arange(begin, begin + len(own), dtype=np.int32)
        # the container at a lower level is the last segment of that level that began by then
        table = np.zeros((len(own), len(levels)), np.int32)
        table[numbers - begin, own] = numbers
        np.maximum(table[0], latest, out=table[0])
        np.maximum.accumulate(table, axis=0, out=table)
        latest = table[-1].copy()
        outer = table[levels < own[:, np.newaxis]]
        # of two nested segments the inner is the intersection, the outer the union
        tiou = np.minimum(np.repeat(length[begin : begin + ROWS], own) / length[outer], 1.0)
        containers.frombytes(outer.tobytes())
        decay.frombytes(np.exp(-(tiou**2) / sigma).tobytes())
    return np.asarray(containers, np.int32), np.asarray(decay, np.float64)
