"""Pixels as a live source: a camera, a stream or a file played at its pace -> feature rows.

The thread that reads the source decodes, resizes and hands pairs of frames to the flow's threads;
the backbones run in a thread that all cameras share. What does not keep up loses whole snippets,
and a break is as long as the clock says, so that times stay right.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from pathlib import Path

from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.features import Features
from co2net_runtime.files.text import number_of
from co2net_runtime.live.arrivals import NOTHING, POLL_S, Arrival
from co2net_runtime.live.camera_network import CameraNetwork
from co2net_runtime.video.decode import Frame, VideoReader
from co2net_runtime.video.ticks import ticks

PLAYED = "play:"
# snippets of one camera that may wait for flow and networks; what begins then is dropped
MOST_WAITING = 3
# seconds that a camera may fall behind the clock, or its time stamps jump, before it is reopened
TOLERANCE_S = 5.0
# seconds before a camera is reopened: the first time, and at most
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# seconds between two reports of dropped snippets
REPORT_S = 10.0


def is_video(source: str) -> bool:
    """Return whether a live source is a camera, a stream or a file to play."""
    is_device = re.fullmatch(r"/dev/video\d+", source) is not None
    return is_device or "://" in source or source.startswith(PLAYED)


class Camera:
    """The rows of one camera's snippets, and the gaps between them.

    Snippet n covers the times n to n + 1 snippets after the first frame: by the camera's time
    stamps while it runs, by this machine's clock across breaks.
    """

    def __init__(self, source: str, network: CameraNetwork) -> None:
        """Take a source: rtsp://..., another URL of FFmpeg, /dev/videoN, or play:FILE.

        Raises InputError if FILE is missing; for a camera that is not there, `arrivals` waits.
        """
        self._played = source.startswith(PLAYED)
        self._source = source.removeprefix(PLAYED)
        if self._played and not Path(self._source).is_file():
            raise InputError(f"{source}: no such file")
        self._network, self._builder = network, network.builder()
        recipe = network.recipe
        self._fps, self._frames = recipe.fps, recipe.snippet_frames
        self._timeline = _Timeline(recipe.snippet_frames / recipe.fps)
        self._ticks = 0  # since the camera was opened
        self._filling = False  # whether the ticks go into a clip, and not to waste

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield rows and gaps until a played file ends, the networks fail or `stop` is set."""
        if position:  # what an earlier run saw lies an unknown time ago
            yield Arrival(gap=True)
        try:
            yield from self._play(stop) if self._played else self._follow(stop)
        except Co2netError as error:
            yield Arrival(trouble=str(error), failed=True)

    def _play(self, stop: threading.Event) -> Iterator[Arrival]:
        with VideoReader(self._source) as video:
            yield from self._watch(_at_its_pace(video, stop))
        if clip := self._builder.finish():
            self._timeline.add(self._network.submit(clip))
        while self._timeline.waiting and not stop.is_set():
            yield from self._timeline.ready()
            stop.wait(POLL_S)
        yield from self._timeline.ready(last=True)

    def _follow(self, stop: threading.Event) -> Iterator[Arrival]:
        wait_s, said = FIRST_WAIT_S, ""
        while not stop.is_set():
            self._ticks = 0
            try:
                with VideoReader(self._source) as video:
                    trouble = yield from self._watch(_in_time(video, stop))
            except InputError as error:
                trouble = str(error)
            self._builder.restart()
            if self._ticks:
                wait_s, said = FIRST_WAIT_S, ""
            if trouble != said and not stop.is_set():
                said = trouble
                yield Arrival(trouble=f"{trouble}; reopening it until it answers")
            yield from self._wait(wait_s, stop)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _watch(self, frames: Generator[Frame, None, str]) -> Generator[Arrival, None, str]:
        """Yield what the frames give; return why they ended."""
        ended = ""

        def noted() -> Iterator[Frame]:
            nonlocal ended
            ended = yield from frames

        for tick in ticks(noted(), self._fps):
            if not self._ticks:
                self._filling = False
                self._timeline.begin()
            self._take(tick)
            yield from self._timeline.ready()
        return ended

    def _take(self, tick: Frame) -> None:
        """Put a tick into the clip that is being filled; where one begins, decide on it."""
        begins = self._ticks % self._frames == 0
        self._ticks += 1
        fill = self._timeline.waiting < MOST_WAITING if begins else self._filling
        # the last flow of a clip leads to the first tick of the next one
        if (fill or (begins and self._filling)) and (clip := self._builder.push(tick)):
            self._timeline.add(self._network.submit(clip))
        if begins and not fill:
            self._builder.restart()
            self._timeline.drop()
        self._filling = fill

    def _wait(self, seconds: float, stop: threading.Event) -> Iterator[Arrival]:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not stop.is_set():
            yield from self._timeline.ready()
            yield NOTHING
            stop.wait(POLL_S)


class _Timeline:
    """The snippets of one camera in order: rows that may still be in the making, and gaps."""

    def __init__(self, snippet_s: float) -> None:
        self._snippet_s = snippet_s
        self._slots: deque[Future[Features] | Arrival] = deque()
        self._count = 0  # snippets in and before the slots
        self._start: float | None = None  # of snippet 0, on the clock
        self._dropped = 0  # since the last report
        self._reported = -REPORT_S

    @property
    def waiting(self) -> int:
        """Rows that are still in the making."""
        return sum(1 for slot in self._slots if isinstance(slot, Future) and not slot.done())

    def begin(self) -> None:
        """Take that the camera shows pictures: the first ones, or again after a break."""
        now = time.monotonic()
        if self._start is None:
            self._start = now
            return
        lost = max(0, round((now - self._start) / self._snippet_s) - self._count)
        self._count += lost
        text = f"the pictures are back; {number_of(lost, 'snippet')} lost"
        self._slots.append(Arrival(trouble=text, gap=True, lost=lost))

    def add(self, row: "Future[Features]") -> None:
        """Append a snippet."""
        self._slots.append(row)
        self._count += 1

    def drop(self) -> None:
        """Append a snippet that nobody has the time for."""
        self._slots.append(Arrival(gap=True, lost=1))
        self._count += 1
        self._dropped += 1

    def ready(self, *, last: bool = False) -> Iterator[Arrival]:
        """Yield what is complete, in order. Raises what the engine raised."""
        while self._slots:
            slot = self._slots[0]
            if isinstance(slot, Future) and not slot.done():
                break
            self._slots.popleft()
            yield Arrival(slot.result()) if isinstance(slot, Future) else slot
        now = time.monotonic()
        if self._dropped and (last or now - self._reported >= REPORT_S):
            count = number_of(self._dropped, "snippet")
            text = f"{count} dropped: this machine is too slow"
            self._dropped, self._reported = 0, now
            yield Arrival(trouble=text)


def _at_its_pace(video: VideoReader, stop: threading.Event) -> Generator[Frame, None, str]:
    start = time.monotonic()
    for frame in video:
        early = frame.time - (time.monotonic() - start)
        if early > 0:
            stop.wait(early)
        if stop.is_set():
            break
        yield frame
    return ""


def _in_time(video: VideoReader, stop: threading.Event) -> Generator[Frame, None, str]:
    """Yield frames while they are near the clock; return why no more come."""
    start, last = time.monotonic(), None
    for frame in video:
        if stop.is_set():
            break
        if last is None:
            start = time.monotonic()
        elif frame.time - last > TOLERANCE_S:
            return f"{video.source}: the time stamps jump by {frame.time - last:.0f} s"
        behind = time.monotonic() - start - frame.time
        if behind > TOLERANCE_S:
            return f"{video.source}: the pictures are {behind:.0f} s late"
        last = frame.time
        yield frame
    return f"{video.source}: the pictures ended"
