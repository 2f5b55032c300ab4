"""Gaussian soft-NMS over segments of which any two are nested or apart.

The runs of one attention curve above several thresholds are such a family, and it makes soft-NMS
cheap: a segment decays only the segments around it, at most one per lower threshold, and those
inside it. So N segments of K thresholds have at most N (K - 1) pairs to look at, not N^2 / 2.
"""

from heapq import heapify, heappop, heappush, heapreplace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class NestedSegments:
    """The segments of one video and how they decay each other, for the scores of any class.

    start, end (N,): [start, end) in snippets. level (N,): index of the threshold, 0 the lowest.
    Ordered by level, then by start; every segment lies within one segment of each lower level and
    has a gap of at least one snippet to all others of its level (`proposals.attention_runs` makes
    such families). sigma: of the Gaussian, exp(-tIoU^2 / sigma).

    Published quirk: tIoU takes segments as one snippet longer than they are: intersection
    max(0, min(end) - max(start) + 1), length end - start + 1. Segments with a gap between them
    still do not meet.
    """

    def __init__(self, start: Integers, end: Integers, level: Integers, sigma: float) -> None:
        # Below, segments are numbered in preorder: by start, the outer before the inner. So the
        # segments inside segment i are those from i + 1 up to the first that starts at its end.
        self._preorder = np.lexsort((level, start))
        start, end, level = start[self._preorder], end[self._preorder], level[self._preorder]
        numbers = np.arange(len(start))
        # container[i, k]: the segment of level k < level[i] around i, the last that began by then
        container = np.zeros((len(start), level.max(initial=0) + 1), dtype=np.int64)
        container[numbers, level] = numbers
        np.maximum.accumulate(container, axis=0, out=container)
        length = end - start + 1
        # of two nested segments the inner is the intersection, the outer the union
        tiou = np.minimum(length[:, None] / length[container], 1.0)
        decay = np.exp(-(tiou**2) / sigma)

        # plain lists: soft-NMS is sequential, and numpy is slow at one number at a time
        self._level: list[int] = level.tolist()
        self._stop: list[int] = np.searchsorted(start, end).tolist()
        self._container: list[list[int]] = container.tolist()
        self._decay: list[list[float]] = decay.tolist()

    def soft_nms(self, scores: Floats) -> tuple[Integers, Floats]:
        """Return the segments in the order soft-NMS takes them, with their decayed scores.

        scores: (N,) float64, finite. Returns order (N,) int64, indices of segments, and the score
        each had when it was taken, (N,) float64 (method, section 4, step 5): repeatedly the highest
        score is taken and the others' are multiplied by exp(-tIoU^2 / sigma). Nothing is dropped.

        Published quirks: negative scores move up. Of equal scores the first in the list is taken,
        in a list that reorders itself: the head goes to the place of the one that was taken.
        """
        level, stop, container, decay = self._level, self._stop, self._container, self._decay
        # The heap holds (cost, place, segment): the smallest cost = -score first, ties by place in
        # the published list. An entry may be out of date, but never behind the truth: what delays a
        # segment (a decayed score, a later place) is looked up when its entry reaches the top,
        # what brings it forward (a negative score that rises) is pushed as a new entry.
        cost: list[float] = (-scores[self._preorder]).tolist()
        place: list[int] = self._preorder.tolist()
        at: list[int] = np.argsort(self._preorder).tolist()  # the list itself: at[place[i]] == i
        heap = list(zip(cost, place, range(len(cost)), strict=True))
        heapify(heap)
        rising = False
        order: list[int] = []
        taken_scores: list[float] = []

        for head in range(len(cost)):
            while True:
                entry_cost, entry_place, taken = heap[0]
                if entry_cost >= 0 and not rising:
                    # no positive score is left: from here on scores rise
                    rising = True
                    heap = [(cost[i], place[i], i) for i in at[head:]]
                    heapify(heap)
                elif place[taken] < 0:
                    heappop(heap)
                elif entry_cost != cost[taken] or entry_place != place[taken]:
                    heapreplace(heap, (cost[taken], place[taken], taken))
                else:
                    break
            heappop(heap)
            order.append(taken)
            taken_scores.append(-entry_cost)
            moved = at[head]
            at[entry_place], place[moved] = moved, entry_place
            place[taken] = -1

            # segments already taken are decayed along with the others, which nobody sees
            own_level = level[taken]
            outer = container[taken][:own_level]
            inner = range(taken + 1, stop[taken])
            for i, factor in zip(outer, decay[taken]):  # noqa: B905  # factors go on, unused
                cost[i] *= factor
            for i in inner:
                cost[i] *= decay[i][own_level]
            if rising:
                for i in (*outer, *inner):
                    if place[i] >= 0:
                        heappush(heap, (cost[i], place[i], i))
        return self._preorder[order], np.array(taken_scores, dtype=np.float64)
