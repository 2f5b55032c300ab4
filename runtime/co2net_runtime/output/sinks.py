"""Where results go: stdout, one file for all videos, or a folder with a file for each."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO, TypeVar

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import (
    atomic_path,
    output_file,
    output_folder,
    sweep_temporaries,
    write_text,
)
from co2net_runtime.files.lock import lock
from co2net_runtime.output.choices import CONTINUED, FORMATS, FormatName, ending
from co2net_runtime.output.formats import Format, Records

STDOUT = "-"

Found = TypeVar("Found")

_BLOCK = 1 << 16

# the longest file name on the usual file systems
_NAME_BYTES = 255


class Sink:
    """Takes the results of one video after another."""

    def existing(self, videos: Iterable[str]) -> set[str]:  # noqa: ARG002  # for those that have
        """Return which of the videos it already holds from an earlier run.

        Raises:
            InputError: That is damaged, or was made with another model or other options.
        """
        return set()

    def add(self, video: str, records: Records) -> None:
        """Take one video's results. Raises InputError if this video's cannot be written."""
        raise NotImplementedError

    def fail(self, video: str, error: str) -> None:
        """Note why a video has no results."""

    def finish(self) -> None:
        """Write what is missing; without this call a whole file keeps its earlier content."""

    def close(self) -> None:
        """Free what is open."""


def name_formats(outs: Sequence[str], chosen: FormatName | None) -> list[FormatName]:
    """Return the format of each --out: its suffix's; on stdout and in folders `chosen`, or JSON.

    Raises:
        InputError: A name does not tell its format, or the chosen format fits no name.
    """
    names = [_name_format(out, chosen) for out in outs]
    if chosen is not None and chosen not in names:
        raise InputError(f"--format {chosen} does not fit --out {', '.join(outs)}")
    return names


def _name_format(out: str, chosen: FormatName | None) -> FormatName:
    suffix = Path(out).suffix
    fitting = [name for name in FORMATS if out.lower().endswith(ending(name))]
    if out == STDOUT or is_folder(out) or not fitting:
        if chosen is None and suffix and not is_folder(out):
            raise InputError(
                f"{out}: expected a folder, or a file named "
                f"{', '.join(f'*{ending(name)}' for name in FORMATS)}, or --format"
            )
        return chosen or "json"
    return max(fitting, key=lambda name: len(ending(name)))


def is_folder(out: str) -> bool:
    """Return whether an --out means a folder: one that exists, or a name without a suffix."""
    return out != STDOUT and (
        Path(out).is_dir() or out.endswith((os.sep, "/")) or not Path(out).suffix
    )


def check_out(out: str, name: FormatName, videos: Iterable[str], *, replace: bool) -> None:
    """Check, before long work, that an --out can be written.

    Args:
        out: The --out.
        name: Its format.
        videos: The names of the videos that will be written.
        replace: Whether what exists may be replaced or continued.

    Raises:
        InputError: It cannot be written, or exists and may not be replaced.
    """
    if out == STDOUT:
        if sys.stdout is None:
            raise InputError("stdout is closed, where the results go: give --out")
    elif is_folder(out):
        folder = output_folder(out)
        sweep_temporaries(folder)
        end = ending(name)
        there = [] if replace else [v for v in videos if os.path.exists(folder / f"{v}{end}")]  # noqa: PTH110  # False, too, for too long a name
        if there:
            raise InputError(
                f"{folder / there[0]}{end}: exists already: choose another --out, or pass "
                "--overwrite or --skip-existing"
            )
    else:
        try:
            output_file(out, overwrite=replace)
        except InputError as error:
            hint = " or --skip-existing" if str(error).endswith("--overwrite") else ""
            raise InputError(f"{error}{hint}") from error


def open_sink(out: str, name: FormatName, form: Format, lines: Format, *, resume: bool) -> Sink:
    """Open an --out that `check_out` accepted.

    Args:
        out: The --out.
        name: The name of its format.
        form: Its format.
        lines: JSON lines: what a whole file is collected in.
        resume: Keep the results of an earlier run.

    Raises:
        InputError: Another process writes there.
    """
    if out == STDOUT:
        return StreamSink(sys.stdout, form)
    if is_folder(out):
        return FolderSink(Path(out), name, form)
    path = Path(out)
    if name == "jsonl":
        return LinesSink(path, form, resume=resume)
    return FileSink(path, form, lines, resume=resume)


def read_earlier(path: Path, form: Format) -> dict[str, Records]:
    """Return the records by video in a file of an earlier run; none without the file.

    Raises:
        InputError: It is damaged, or was made with another model or other options.
    """
    return _read(path, lambda: form.read(path.read_text(encoding="utf-8")), {})


def _read(path: Path, read: Callable[[], Found], without: Found) -> Found:
    """Call `read`; return `without` where `path` is no file.

    Raises InputError as `read_earlier` does.
    """
    try:
        return read()
    except FileNotFoundError:
        return without
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever json and csv raise on damaged text, deep lists included
        raise InputError(
            f"{path}: damaged: expected the results of an earlier run: move it away, or pass "
            "--overwrite in place of --skip-existing"
        ) from error


class StreamSink(Sink):
    """Writes into an open stream, each video as soon as it is done."""

    def __init__(self, stream: TextIO, form: Format) -> None:
        self._stream, self._form = stream, form
        self._begun = False

    def add(self, video: str, records: Records) -> None:
        """Write one video."""
        before = self._form.separator if self._begun else self._form.head
        self._stream.write(before + self._form.video(video, records))
        self._stream.flush()
        self._begun = True

    def finish(self) -> None:
        """Write the end."""
        self._stream.write(("" if self._begun else self._form.head) + self._form.tail())
        self._stream.flush()


class LinesSink(Sink):
    """JSON lines, each in the file as soon as its video is done: a power cut loses one video."""

    def __init__(self, path: Path, form: Format, *, resume: bool) -> None:
        self.path, self._form, self._resume = path, form, resume
        self._stream: TextIO | None = None
        self._holds = ExitStack()
        self._holds.enter_context(lock(path))

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Read the names in the earlier lines, not their results: there may be a million."""
        return _read(self.path, lambda: self._named(set(videos)), set())

    def _named(self, videos: set[str]) -> set[str]:
        assert self._form.names is not None
        with self.path.open("rb") as lines:
            return {name for name in self._form.names(lines) if name in videos}

    def add(self, video: str, records: Records) -> None:
        """Append one line."""
        if self._stream is None:
            if self._resume and self.path.exists():
                _cut_last_line(self.path)
            self._stream = self._holds.enter_context(
                self.path.open("a" if self._resume else "w", encoding="utf-8")
            )
        try:
            self._stream.write(self._form.video(video, records))
            self._stream.flush()
        except OSError as error:
            # a full disk ends the run, not this video alone; the error itself names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def collected(self) -> Iterator[tuple[str, Records]]:
        """Yield what the file holds, video by video."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield from self._form.read(line).items()

    def finish(self) -> None:
        """Flush the lines to disk."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        # `add` flushes each line: what is left is what it has reported that it could not write
        with suppress(OSError):
            self._holds.close()


class FileSink(Sink):
    """One file that appears whole; until then its results are collected in NAME.part.

    That stays if the process is killed, and --skip-existing goes on with it.
    """

    def __init__(self, path: Path, form: Format, lines: Format, *, resume: bool) -> None:
        self._path, self._form = path, form
        self._lines = LinesSink(path.with_name(f"{path.name}.part"), lines, resume=resume)
        self._kept: dict[str, Records] = {}

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Read the earlier file, and what a killed run collected."""
        self._kept = read_earlier(self._path, self._form)
        videos = set(videos)
        return videos & self._kept.keys() | self._lines.existing(videos)

    def add(self, video: str, records: Records) -> None:
        """Collect one video."""
        self._lines.add(video, records)

    def finish(self) -> None:
        """Write what was collected and what is kept, and give the file its name."""
        if not self._lines.path.exists():
            return
        with atomic_path(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            sink = StreamSink(file, self._form)
            for video, records in self._collected():
                sink.add(video, records)
            sink.finish()
        self._lines.path.unlink()

    def close(self) -> None:
        """Close what is open."""
        self._lines.close()

    def _collected(self) -> Iterator[tuple[str, Records]]:
        for video, records in self._lines.collected():
            self._kept.pop(video, None)
            yield video, records
        yield from self._kept.items()


class FolderSink(Sink):
    """One file per video, there as soon as the video is done."""

    def __init__(self, folder: Path, name: FormatName, form: Format) -> None:
        self._folder, self._name, self._form = folder, name, form
        self._holds = ExitStack()
        self._holds.enter_context(lock(folder))

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Look for the videos' files; of files for people only the existence is checked."""
        found = {video for video in videos if os.path.exists(self._path(video))}  # noqa: PTH110  # as above
        if self._name in CONTINUED:
            for video in found:
                read_earlier(self._path(video), self._form)
        return found

    def add(self, video: str, records: Records) -> None:
        """Write the video's file."""
        path = self._path(video)
        if len(os.fsencode(path.name)) > _NAME_BYTES:
            raise InputError(f"{path}: a file name of more than {_NAME_BYTES} bytes")
        form = self._form
        write_text(path, form.head + form.video(video, records) + form.tail())

    def close(self) -> None:
        """Let others write here."""
        self._holds.close()

    def _path(self, video: str) -> Path:
        return self._folder / f"{video}{ending(self._name)}"


def _cut_last_line(path: Path) -> None:
    """Remove what a crash left after the last complete line."""
    with path.open("rb+") as file:
        position = file.seek(0, os.SEEK_END)
        while position:  # block by block from the end: the file may be large
            start = max(0, position - _BLOCK)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            position = start
        file.truncate(0)
