"""Frames with time stamps out of a video file, by PyAV (FFmpeg)."""

import logging
import os
import re
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError, MissingDependencyError

logger = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]

# seconds for opening and for each read of a URL
URL_TIMEOUT = 10.0
# a file with more damaged than good packets is refused, once this many are damaged
FEW_DAMAGED = 16


@dataclass(frozen=True)
class Frame:
    """One decoded frame. Its pixels are converted when they are first asked for."""

    time: float  # seconds since the first frame, never smaller than the frame's before
    read: Callable[[], Image]  # gives the pixels (H, W, 3) uint8 R, G, B, upright


@dataclass
class DecodeReport:
    """The packets and frames of a video, counted."""

    frames: int = 0  # decoded
    damaged: int = 0  # packets that could not be decoded, and frames that the decoder had to patch
    packets: int = 0
    stopped: bool = field(default=False)  # whether the data ended in the middle

    def __str__(self) -> str:
        parts = []
        if self.damaged:
            parts.append(f"{self.damaged} of {self.packets} packets are damaged")
        if self.stopped:
            parts.append(f"the data break off after {self.frames} frames")
        return " and ".join(parts)


class VideoReader:
    """A video opened for reading: iterate it once for its frames.

    Frame counts and frame rates that containers claim are not relied upon. The largest picture
    stream that is no cover picture is taken; rotation is applied; gray, 10-bit and all other
    pixel formats come as R, G, B of 8 bits.

    Example:
        with VideoReader("clip.mp4") as video:
            for frame in video:
                print(frame.time, frame.read().shape)
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        """Open a file, a URL that FFmpeg reads, or a camera /dev/videoN.

        Raises:
            InputError: There is no such file, or no video in it.
            MissingDependencyError: PyAV is not installed.
        """
        self._address = os.fspath(source)
        # as texts name it
        self.source = without_password(self._address)
        self.report = DecodeReport()
        self._av = load_av()
        self._container = self._open()
        try:
            self._stream = self._video_stream()
        except BaseException:
            self._container.close()
            raise
        # frames and slices in parallel, by as many threads as there are cores
        self._stream.thread_type = "AUTO"

    @property
    def duration(self) -> float | None:
        """Length in seconds as the file claims it, for progress only; None where it does not."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if self._container.duration is None:
            return None
        return float(self._container.duration) / float(self._av.time_base)

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return str(self._stream.codec_context.name)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames in the order of display; damaged packets are counted and left out.

        Raises:
            InputError: No frame can be decoded, or more packets are damaged than good.
        """
        clock = _Clock(self._frame_seconds())
        for picture in self._pictures():
            self.report.frames += 1
            if picture.is_corrupt:
                self.report.damaged += 1
            yield Frame(clock.advance(picture.time), _reader(picture))
        report = self.report
        if not report.frames:
            damage = f": {report}" if str(report) else ""
            raise InputError(f"{self.source}: not one frame of {self.codec} video in it{damage}")
        if str(report):
            logger.warning("%s: %s", self.source, report)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        address = self._address
        is_url = "://" in address
        if not is_url:
            file = Path(address)
            if file.is_dir():
                raise InputError(f"{self.source}: a folder, expected a video file")
            if not file.exists():
                raise InputError(f"{self.source}: no such file")
            if file.is_file() and file.stat().st_size == 0:
                raise InputError(f"{self.source}: the file is empty")
            if file.is_char_device():
                return self._open_as(address, format="v4l2")
            # a file's name is never taken for a protocol, as in "http:clip"
            return self._open_as(f"file:{address}")
        # over UDP, what a busy machine does not fetch in time is lost in the middle of pictures
        options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
        return self._open_as(address, options=options, timeout=(URL_TIMEOUT, URL_TIMEOUT))

    def _open_as(self, name: str, **how: Any) -> Any:
        start = time.monotonic()
        try:
            return self._av.open(name, **how)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            # what FFmpeg says then differs from protocol to protocol
            if "timeout" in how and time.monotonic() - start >= URL_TIMEOUT:
                raise InputError(f"{self.source}: no answer within {URL_TIMEOUT:g} s") from error
            what = "no answer" if "timeout" in how else "not a video, or damaged or truncated"
            raise InputError(f"{self.source}: {what}: {_words(error)}") from error

    def _video_stream(self) -> Any:
        streams = list(self._container.streams.video)
        cover = self._av.stream.Disposition.attached_pic
        films = [stream for stream in streams if not stream.disposition & cover]
        # without a codec there is no size
        known = [stream for stream in films if stream.codec_context is not None]
        if known:
            return max(known, key=lambda stream: (stream.width or 0) * (stream.height or 0))
        if films:
            raise InputError(
                f"{self.source}: not a video, or damaged or truncated: FFmpeg cannot tell its codec"
            )
        if streams:
            raise InputError(
                f"{self.source}: no video in it, only a cover picture beside its sound"
            )
        if self._container.streams.audio:
            raise InputError(f"{self.source}: no video in it, only sound")
        raise InputError(f"{self.source}: not a video, or damaged or truncated: it has no streams")

    def _frame_seconds(self) -> float:
        """Return the time from frame to frame where time stamps are missing."""
        rate = self._stream.guessed_rate or self._stream.average_rate
        return 1 / float(rate) if rate else 0.04

    def _pictures(self) -> Iterator[Any]:
        report, invalid = self.report, self._av.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except invalid:
                report.stopped = True
                packet = None
            if packet is not None and packet.size:
                report.packets += 1
            try:
                # None flushes what the decoder still holds
                yield from self._stream.codec_context.decode(packet)
            except self._av.EOFError:
                pass
            except invalid:
                report.damaged += 1
                if report.damaged >= FEW_DAMAGED and 2 * report.damaged > report.packets:
                    raise InputError(
                        f"{self.source}: {report.damaged} of the first {report.packets} packets "
                        "are damaged: too many to go on"
                    ) from None
            if packet is None:
                return


class _Clock:
    """Time stamps from 0 on that never run backwards, also where some are missing."""

    def __init__(self, frame_seconds: float) -> None:
        self._step = frame_seconds
        self._first: float | None = None
        self._last = 0.0

    def advance(self, stamp: float | None) -> float:
        if self._first is None:
            self._first = stamp or 0.0
            return 0.0
        time = self._last + self._step if stamp is None else float(stamp) - self._first
        self._last = max(self._last, time)
        return self._last


def without_password(address: str) -> str:
    """Return a URL without user and password, as texts may show it; a file's name as it is."""
    return re.sub(r"(?<=://)[^/@]*@", "", address)


def load_av() -> types.ModuleType:
    """Import PyAV. Raises MissingDependencyError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("PyAV", "video", "reading video") from error
    # FFmpeg's own complaints on stderr; what matters is counted and said
    av.logging.set_level(None)
    return av


def _reader(picture: Any) -> Callable[[], Image]:
    def read() -> Image:
        image: Image = picture.to_ndarray(format="rgb24")
        # degrees counterclockwise, of the container's display matrix
        turns = round(picture.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    return read


def _words(error: BaseException) -> str:
    """Return FFmpeg's message without its number and file name."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())
