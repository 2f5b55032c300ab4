"""The work of co2net-extract: one video after another, what was done and how fast."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import engine_options
from co2net_runtime.cli.video_options import check_flow_algorithm
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.files.atomic import sweep_temporaries
from co2net_runtime.files.lock import lock
from co2net_runtime.files.text import number_of
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.files import (
    DtypeName,
    check_folder,
    find_videos,
    refuse_existing,
    write_features,
)


@dataclass
class Summary:
    """The outcome of one run."""

    videos: dict[str, int] = field(default_factory=dict)  # name -> snippets written
    skipped: list[str] = field(default_factory=list)  # names whose features were there
    failures: list[str] = field(default_factory=list)  # a line for each video that failed
    interrupted: bool = False


def extract(
    videos: tuple[str, ...],
    rgb: Path,
    flow: Path | None,
    out: Path,
    skip_existing: bool,
    overwrite: bool,
    dtype: DtypeName,
    flow_algorithm: FlowAlgorithm | None,
    accept_mismatch: bool,
    as_json: bool,
    quiet: bool,
    **engine: Any,
) -> None:
    """Extract features; the arguments are the options of co2net-extract.

    Ends the click command with the exit code.
    """
    check_flow_algorithm(flow_algorithm, flow)
    if skip_existing and overwrite:
        raise click.UsageError("--skip-existing and --overwrite exclude each other")
    console.log_to_stderr(quiet=quiet)
    found = find_videos(videos)
    if not skip_existing:
        refuse_existing(out, found, overwrite=overwrite)
    options = engine_options(engine)
    with Extractor.open(
        rgb, flow, options, flow_algorithm=flow_algorithm, accept_mismatch=accept_mismatch
    ) as extractor:
        console.note(f"{extractor.extraction}; {extractor.rgb.engine}", quiet=quiet)
        check_folder(out, extractor.extraction)
        with lock(out):
            sweep_temporaries(out)
            start = time.monotonic()
            summary = _run(extractor, found, out, dtype, skip_existing=skip_existing, quiet=quiet)
            seconds = time.monotonic() - start
    if as_json:
        click.echo(json.dumps(_as_json(summary, extractor, seconds), indent=2))
    _report(summary, extractor, len(found), out, seconds, quiet=quiet)


def _run(
    extractor: Extractor,
    videos: dict[str, Path],
    out: Path,
    dtype: DtypeName,
    *,
    skip_existing: bool,
    quiet: bool,
) -> Summary:
    summary = Summary()
    if skip_existing:
        summary.skipped = [name for name in videos if (out / f"{name}.npy").exists()]
    todo = {name: path for name, path in videos.items() if name not in summary.skipped}
    seconds = extractor.recipe.snippet_frames / extractor.recipe.fps
    with (
        console.finish_on_interrupt("video") as interruption,
        VideoProgress(list(todo.values()), seconds, quiet=quiet) as progress,
    ):
        for name, path in todo.items():
            if interruption.is_set():
                summary.interrupted = True
                break
            try:
                target = out / f"{name}.npy"
                summary.videos[name] = write_features(
                    extractor, path, target, dtype, progress.rows_added
                )
            except Co2netError as error:
                summary.failures.append(str(error))
                console.note(f"co2net-extract: error: {error}")
            progress.finish_video(path)
    return summary


class VideoProgress:
    """A bar over the seconds of all videos, with the time left and the speed."""

    def __init__(self, videos: list[Path], snippet_seconds: float, *, quiet: bool) -> None:
        """Prepare.

        Args:
            videos: Those that will be extracted.
            snippet_seconds: Seconds of a feature row.
            quiet: Draw nothing.
        """
        self._snippet = snippet_seconds
        self._lengths = {} if quiet else {path: _claimed_seconds(path) for path in videos}
        total = max(1, round(sum(self._lengths.values())))
        self._bar = console.progress(range(total), "extracting", length=total, quiet=quiet)
        self._done = self._past = 0.0  # seconds of this video, and of those before it
        self._extracted = 0.0
        self._drawn = 0
        self._start = time.monotonic()

    def rows_added(self, count: int) -> None:
        """Show that `count` more rows were written."""
        self._done += count * self._snippet
        self._extracted += count * self._snippet
        speed = self._extracted / max(1e-9, time.monotonic() - self._start)
        self._bar.label = f"extracting, {speed:.1f}x real time"
        self._draw(self._past + self._done)

    def finish_video(self, path: Path) -> None:
        """Note that a video is done, or failed."""
        self._past += self._lengths.get(path, 0.0)
        self._done = 0.0
        self._draw(self._past)

    def _draw(self, seconds: float) -> None:
        step = min(round(seconds), self._bar.length or 0) - self._drawn
        if step > 0:
            self._drawn += step
            self._bar.update(step)

    def __enter__(self) -> "VideoProgress":
        self._bar.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._bar.__exit__(*details)


def _claimed_seconds(path: Path) -> float:
    """Return a video's length as its container claims it; 0 if it does not, or cannot be used."""
    try:
        with VideoReader(path) as video:
            return video.duration or 0.0
    except Co2netError:
        return 0.0


def _as_json(summary: Summary, extractor: Extractor, seconds: float) -> dict[str, Any]:
    recipe = extractor.recipe
    video_seconds = sum(summary.videos.values()) * recipe.snippet_frames / recipe.fps
    return {
        "videos": summary.videos,
        "skipped": summary.skipped,
        "failures": summary.failures,
        "seconds": round(seconds, 3),
        "video_seconds": round(video_seconds, 3),
        "times_real_time": round(video_seconds / seconds, 3) if seconds else None,
        "stage_seconds": {name: round(s, 3) for name, s in extractor.stages.seconds.items()},
        "extraction": extractor.extraction.to_mapping(),
    }


def _report(
    summary: Summary, extractor: Extractor, count: int, out: Path, seconds: float, *, quiet: bool
) -> None:
    """Say what was done, and end with the exit code that fits."""
    if not summary.videos and not summary.skipped and not summary.interrupted:
        raise InputError("no video could be used")
    rows = sum(summary.videos.values())
    length = rows * extractor.recipe.snippet_frames / extractor.recipe.fps
    videos = number_of(len(summary.videos), "video")
    text = f"{videos}, {number_of(rows, 'snippet')} ({length:.0f} s) -> {out}"
    if rows:
        text += f", {length / max(seconds, 1e-9):.1f}x real time"
    if summary.skipped:
        text += f"; {len(summary.skipped)} already there"
    console.note(text, quiet=quiet)
    context = click.get_current_context()
    if summary.failures:
        console.note(f"{len(summary.failures)} of {count} videos failed")
    if summary.interrupted:
        left = count - len(summary.videos) - len(summary.skipped) - len(summary.failures)
        console.note(
            f"interrupted: {number_of(left, 'video')} left; --skip-existing goes on with them"
        )
        context.exit(console.EXIT_INTERRUPTED)
    if summary.failures:
        context.exit(console.EXIT_SOME_FAILED)
