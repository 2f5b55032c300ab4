"""Where results go: stdout, one file for all videos, or a folder with a file for each."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path, output_folder, write_text
from co2net_runtime.output.choices import FORMATS, FormatName
from co2net_runtime.output.formats import Format, Records

STDOUT = "-"


class Sink(Protocol):
    """Takes the results of one video after another."""

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Return which of the videos it already holds from an earlier run.

        Raises InputError if that was made with another model or other options.
        """

    def add(self, video: str, records: Records) -> None:
        """Take one video's results."""

    def finish(self) -> None:
        """Write what is missing; without this call a whole file keeps its earlier content."""

    def close(self) -> None:
        """Free what is open."""


def name_formats(outs: Sequence[str], chosen: FormatName | None) -> list[FormatName]:
    """Return the format of each --out: its suffix's; on stdout and in folders `chosen`, or JSON.

    Raises InputError if a name does not tell, or none of them takes the chosen format.
    """
    names = [_name_format(out, chosen) for out in outs]
    if chosen is not None and chosen not in names:
        raise InputError(f"--format {chosen} does not fit --out {', '.join(outs)}")
    return names


def _name_format(out: str, chosen: FormatName | None) -> FormatName:
    suffix = Path(out).suffix.lower()
    of_suffix = [name for name in FORMATS if suffix == f".{name}"]
    if out == STDOUT or is_folder(out) or not of_suffix:
        if chosen is None and suffix and not is_folder(out):
            raise InputError(
                f"{out}: expected a folder, or a file named "
                f"{', '.join(f'*.{name}' for name in FORMATS)}, or --format"
            )
        return chosen or "json"
    return of_suffix[0]


def is_folder(out: str) -> bool:
    """Return whether an --out means a folder: one that exists, or a name without a suffix."""
    return out != STDOUT and (
        Path(out).is_dir() or out.endswith((os.sep, "/")) or not Path(out).suffix
    )


def open_sink(out: str, name: FormatName, form: Format, *, resume: bool) -> Sink:
    """Open an --out. resume: keep what an earlier run left there.

    Raises InputError if it cannot be written.
    """
    if out == STDOUT:
        return StreamSink(sys.stdout, form)
    if is_folder(out):
        return FolderSink(output_folder(out), name, form)
    path = Path(out)
    output_folder(path.parent)
    return AppendingSink(path, form, resume=resume) if name == "jsonl" else FileSink(path, form)


class StreamSink:
    """Writes into an open stream, each video as soon as it is done."""

    def __init__(self, stream: TextIO, form: Format) -> None:
        self._stream = stream
        self._form = form
        self._begun = False

    def existing(self, videos: Iterable[str]) -> set[str]:  # noqa: ARG002  # a stream has no past
        """Return none."""
        return set()

    def add(self, video: str, records: Records) -> None:
        """Write one video."""
        head = "" if self._begun else self._form.head()
        self._stream.write(head + self._form.video(video, records, first=not self._begun))
        self._stream.flush()
        self._begun = True

    def finish(self) -> None:
        """Write the end."""
        self._stream.write(("" if self._begun else self._form.head()) + self._form.tail())
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open: it is not ours."""


class FileSink(StreamSink):
    """One file that appears whole; what is kept of an earlier one is in it, too."""

    def __init__(self, path: Path, form: Format) -> None:
        # nameless, so that nothing is left behind whatever happens
        self._spool = tempfile.TemporaryFile(  # noqa: SIM115  # close() closes it
            "w+", encoding="utf-8", dir=path.parent
        )
        super().__init__(self._spool, form)
        self._path = path
        self._kept: dict[str, Records] = {}

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Read the earlier file."""
        if self._path.exists():
            text = self._path.read_text(encoding="utf-8")
            self._kept = self._form.read(text, str(self._path))
        return set(videos) & set(self._kept)

    def add(self, video: str, records: Records) -> None:
        """Write one video, in place of an earlier result of it."""
        self._kept.pop(video, None)
        super().add(video, records)

    def finish(self) -> None:
        """Write what is kept and the end, and give the file its name."""
        for video, records in self._kept.items():
            super().add(video, records)
        super().finish()
        self._spool.seek(0)
        with atomic_path(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            shutil.copyfileobj(self._spool, file)

    def close(self) -> None:
        """Free the spool."""
        self._spool.close()


class AppendingSink:
    """JSON lines, each in the file as soon as its video is done: a power cut loses one video."""

    def __init__(self, path: Path, form: Format, *, resume: bool) -> None:
        self._path = path
        self._form = form
        self._resume = resume
        self._stream: TextIO | None = None

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Read the earlier lines."""
        if not self._path.exists():
            return set()
        text = self._path.read_text(encoding="utf-8")
        return set(videos) & set(self._form.read(text, str(self._path)))

    def add(self, video: str, records: Records) -> None:
        """Append one line."""
        if self._stream is None:
            if self._resume and self._path.exists():
                _cut_last_line(self._path)
            self._stream = self._path.open("a" if self._resume else "w", encoding="utf-8")
        self._stream.write(self._form.video(video, records, first=False))
        self._stream.flush()

    def finish(self) -> None:
        """Do nothing: every line is complete."""

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


class FolderSink:
    """One file per video, there as soon as the video is done."""

    def __init__(self, folder: Path, name: FormatName, form: Format) -> None:
        self._folder = folder
        self._name = name
        self._form = form

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Look which files there are."""
        found = {video for video in videos if self._path(video).exists()}
        if self._name in ("json", "jsonl"):
            for video in found:
                path = self._path(video)
                self._form.read(path.read_text(encoding="utf-8"), str(path))
        return found

    def add(self, video: str, records: Records) -> None:
        """Write the video's file."""
        form = self._form
        text = form.head() + form.video(video, records, first=True) + form.tail()
        write_text(self._path(video), text)

    def finish(self) -> None:
        """Do nothing: every file is complete."""

    def close(self) -> None:
        """Do nothing: none is open."""

    def _path(self, video: str) -> Path:
        return self._folder / f"{video}.{self._name}"


def _cut_last_line(path: Path) -> None:
    """Remove what a crash left behind the last line's end."""
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
