"""Frames at any times -> ticks at a fixed rate: resampling by time, never by index."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator

from co2net_runtime.video.decode import Frame

# the length of the last frame is the median of the latest gaps; this many are remembered
GAPS = 1001
# time stamps are fractions, and half a tick must round up also when a float falls just short
_HALF = 0.5 + 1e-6


class Ticker:
    """Gives each frame the ticks that show it, one frame after another.

    Tick k, at k / fps seconds, shows the last frame whose round(fps * time) is at most k, halves
    rounded up: the rule of FFmpeg's filter fps. A frame without a tick is one that another came
    too soon after.

    Example:
        >>> ticker = Ticker(25.0)
        >>> [ticker.push(time) for time in (0.0, 0.02, 0.16)], ticker.finish()
        ([0, 1, 3], 4)
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._held: float | None = None
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._emitted = 0

    def push(self, time: float) -> int:
        """Take the time of the next frame; return how many ticks show the frame before it."""
        if self._held is not None:
            self._gaps.append(time - self._held)
        self._held = time
        return self._emit(math.floor(self._fps * time + _HALF))

    def finish(self, alone: float = 0.0) -> int:
        """End the video; return how many ticks show its last frame.

        The video ends one median gap after its last frame.

        alone: the gap in seconds of a video of a single frame.
        """
        if self._held is None:
            return 0
        gap = statistics.median(self._gaps) if self._gaps else alone
        return self._emit(math.floor(self._fps * (self._held + gap) + _HALF))

    def _emit(self, until: int) -> int:
        count = max(0, until - self._emitted)
        self._emitted += count
        return count


def ticks(frames: Iterable[Frame], fps: float) -> Iterator[Frame]:
    """Yield the frame of every tick; a frame of several ticks comes as the same object.

    Holds one frame, so that a source may be endless.

    Args:
        frames: Frames in the order of their times, from 0 on.
        fps: Ticks a second.
    """
    ticker = Ticker(fps)
    held: Frame | None = None
    for frame in frames:
        count = ticker.push(frame.time)
        for _ in range(count if held is not None else 0):
            yield held  # type: ignore[misc]  # not None if count is positive
        held = frame
    for _ in range(ticker.finish(alone=1 / fps)):
        assert held is not None
        yield held
