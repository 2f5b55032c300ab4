"""The work of co2net-infer: opens the model and the outputs, runs, reports."""

import dataclasses
import functools
import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import engine_options, note_bf16
from co2net_runtime.cli.infer_job import Choice, Job, describe
from co2net_runtime.cli.model_argument import check_model_argument
from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import expand_lists, find_feature_files
from co2net_runtime.features import SUFFIXES as FEATURE_SUFFIXES
from co2net_runtime.features import FeatureFile
from co2net_runtime.files.atomic import output_file, output_folder
from co2net_runtime.files.digest import begin_sha256
from co2net_runtime.files.hub import local_model
from co2net_runtime.files.text import number_of
from co2net_runtime.localizer import Localizer
from co2net_runtime.output.choices import CONTINUED, ONE_VIDEO, FormatName
from co2net_runtime.output.formats import Showing, json_lines, make_format
from co2net_runtime.output.pictures import Pictures
from co2net_runtime.output.sinks import STDOUT, check_out, is_folder, name_formats, open_sink
from co2net_runtime.video import SUFFIXES as VIDEO_SUFFIXES
from co2net_runtime.watching.metrics import Metrics

if TYPE_CHECKING:
    from co2net_runtime.cli.infer_shard import ShardJob
    from co2net_runtime.cli.infer_video import VideoOptions


def infer(
    model: Path,
    features: tuple[str, ...],
    flow: Path | None,
    key: str | None,
    outs: tuple[str, ...],
    form: FormatName | None,
    shard: str | None,
    media: str,
    skip_existing: bool,
    overwrite: bool,
    classes_only: bool,
    min_score: float | None,
    top_k: int | None,
    best: bool,
    batch: int | None,
    chunk: int | None,
    plot: Path | None,
    plot_format: tuple[str, ...],
    ground_truth: Path | None,
    metrics: Path | None,
    quiet: bool,
    rgb: Path | None,
    save_features: Path | None,
    flow_algorithm: FlowAlgorithm | None,
    accept_mismatch: bool,
    **engine: Any,
) -> None:
    """Localize the actions in feature files or videos; the arguments are co2net-infer's options.

    Raises click.UsageError for options that do not go together, and what `Localizer.load`,
    `find_feature_files` and `open_sink` raise. Ends the click command with the exit code.
    """
    if skip_existing and overwrite:
        raise click.UsageError("--skip-existing and --overwrite exclude each other")
    if "{video}" not in media:
        raise click.UsageError(f"--media {media}: expected {{video}} where the video's name stands")
    if ground_truth is not None and plot is None:
        raise click.UsageError("--ground-truth is drawn into the pictures: give --plot DIR")
    features = tuple(expand_lists(features))
    _check_arguments(model, features)
    names: Sequence[FormatName] = name_formats(outs, form)
    choice = Choice(min_score, top_k, classes_only, best)
    _check_outs(outs, names, choice, features, skip_existing=skip_existing)
    console.log_to_stderr(quiet=quiet)
    if metrics is not None:
        output_file(metrics, overwrite=True)
    videos = None
    if rgb is not None:
        from co2net_runtime.cli.infer_video import VideoOptions

        videos = VideoOptions(
            rgb, flow, flow_algorithm, accept_mismatch, save_features, keep=skip_existing
        )
    elif save_features is not None or flow_algorithm is not None or accept_mismatch:
        raise click.UsageError(
            "--save-features, --flow-algorithm and --accept-mismatch are for videos: give --rgb"
        )
    files = _find_files(features, flow, key, videos, overwrite=overwrite)
    del features  # of a million videos their texts alone take 0.2 GB
    replace = overwrite or skip_existing
    part = None
    if shard is not None:
        from co2net_runtime.cli.infer_shard import THREADS, ShardJob

        engine["threads"] = engine["threads"] or THREADS
        part = ShardJob.open(shard, outs, form, files)
        part.check_out(replace=replace)
        outs = names = ()
    _check_places(outs, names, files, replace=replace)
    with ExitStack() as stack:
        pictures = None
        if plot is not None:
            pictures = Pictures(output_folder(plot), plot_format, ground_truth)
        if pictures is not None and not replace:
            pictures.refuse_existing(file.video for file in files)
        model = Path(local_model(model))
        # while the engine is imported and opened, which takes one core
        model_sha256 = begin_sha256(model)
        # all files, also those that --skip-existing leaves out: a resumed run rounds as the first
        options = engine_options(engine).suiting(file.length() for file in files)
        localizer = stack.enter_context(Localizer.load(model, options, chunk=chunk))
        console.note(str(localizer.engine), quiet=quiet)
        note_bf16(options, localizer.contract, quiet=quiet)
        made_with: dict[str, Any] = {}
        if videos is not None:
            from co2net_runtime.cli.infer_video import extracted

            files, extraction = stack.enter_context(
                extracted(files, localizer, model, videos, options, quiet=quiet)
            )
            made_with["extraction"] = extraction.to_mapping()
        made_by = functools.cache(
            lambda: {**describe(model, model_sha256(), localizer, choice), **made_with}
        )
        sinks = []
        lines = json_lines(made_by)
        if part is not None:
            part.claim(made_by(), localizer, batch)
            if skip_existing and part.path.exists():
                part.report_done(quiet=quiet)
                return
            files = part.select(files)
            sinks.append(part.sink(lines, resume=skip_existing))
            stack.callback(sinks[-1].close)
        contract = localizer.contract
        showing = Showing(contract.classes, choice.shown_share, contract.timing.fps, media)
        for out, name in zip(outs, names, strict=True):
            text = make_format(name, made_by, showing)
            sinks.append(open_sink(out, name, text, lines, resume=skip_existing))
            stack.callback(sinks[-1].close)
        figures = None
        if metrics is not None:
            figures = Metrics(metrics)
            figures.model(made_by())
        job = Job(localizer, sinks, choice, pictures, figures)
        job.run(files, batch, skip_existing=skip_existing, quiet=quiet)
    _report(job, len(files), outs if part is None else (str(part.path),), part, quiet=quiet)


def _check_outs(
    outs: Sequence[str],
    names: Sequence[FormatName],
    choice: Choice,
    features: Sequence[str],
    *,
    skip_existing: bool,
) -> None:
    if choice.classes_only and choice.best:
        raise click.UsageError("--classes-only has no segments of which --best could choose")
    for name in names:
        if choice.classes_only and name not in CONTINUED:
            raise click.UsageError(f"--classes-only has no times, as --format {name} needs them")
    if len(set(outs)) < len(outs):
        raise click.UsageError("--out names the same place twice")
    if skip_existing:
        if "-" in features:
            raise click.UsageError("--skip-existing has nothing to continue when stdin is read")
        for out, name in zip(outs, names, strict=True):
            if out == STDOUT or (name not in CONTINUED and not is_folder(out)):
                raise click.UsageError(
                    "--skip-existing needs results that can be continued: give --out FILE.json, "
                    "FILE.jsonl, FILE.csv or a folder"
                )


def _check_arguments(model: Path, features: Sequence[str]) -> None:
    """Catch mistakes that would otherwise look like a damaged file.

    Raises InputError.
    """
    check_model_argument(model, features)
    for text in features:
        if "://" in text:
            shown = re.sub(r"(?<=://)[^/@]*@", "", text)
            raise InputError(
                f"{shown}: an address, expected files: for a live stream give --live, and --rgb "
                "RGB.onnx --flow FLOW.onnx, the backbones that make features of it"
            )
        if text == "-" and sys.stdin is None:
            raise InputError("-: stdin is closed")


def _printable(video: str) -> str:
    """Return the name with bytes that are not UTF-8 as \\xNN, so that every format can hold it."""
    return os.fsencode(video).decode("utf-8", "backslashreplace")


def _find_files(
    features: Sequence[str],
    flow: Path | None,
    key: str | None,
    videos: "VideoOptions | None",
    *,
    overwrite: bool,
) -> list[FeatureFile]:
    """Return the files to work through, feature files or, with backbones, videos."""
    if videos is None:
        _refuse_videos(features)
        found = find_feature_files(features, flow, key=key)
    else:
        from co2net_runtime.cli.infer_video import video_arguments
        from co2net_runtime.video.files import refuse_existing

        found = video_arguments(features)
        if videos.save_features is not None and not videos.keep:
            names = [one.video for one in found]
            refuse_existing(videos.save_features, names, overwrite=overwrite)
    if all(file.video.isascii() for file in found):
        return found
    return [dataclasses.replace(file, video=_printable(file.video)) for file in found]


def _refuse_videos(features: Sequence[str]) -> None:
    for text in features:
        path = Path(text)
        if path.suffix.lower() in VIDEO_SUFFIXES or (path.is_dir() and _holds_only_videos(path)):
            what = "a folder of videos" if path.is_dir() else "a video"
            raise InputError(
                f"{text}: {what}: give the backbones that make features of it: "
                "--rgb RGB.onnx --flow FLOW.onnx (co2net-backbone writes them)"
            )


def _check_places(
    outs: Sequence[str], names: Sequence[FormatName], files: Sequence[FeatureFile], *, replace: bool
) -> None:
    videos = [file.video for file in files]
    for out, name in zip(outs, names, strict=True):
        check_out(out, name, videos, replace=replace)
    for out, name in zip(outs, names, strict=True):
        if name in ONE_VIDEO and not is_folder(out) and len(files) > 1:
            raise click.UsageError(
                f"a file of format {name} holds one video, and there are {len(files)}: "
                f"give --out FOLDER --format {name}"
            )


def _holds_only_videos(folder: Path) -> bool:
    """Return whether a folder has videos and no features; a large one of features is not read."""
    found = False
    for file in folder.iterdir():
        if file.suffix in FEATURE_SUFFIXES:
            return False
        found = found or file.suffix.lower() in VIDEO_SUFFIXES
    return found


def _report(
    job: Job, count: int, outs: Sequence[str], part: "ShardJob | None", *, quiet: bool
) -> None:
    """Say what was done, and end with the exit code that fits."""
    for failure in job.failures:
        console.report_error("co2net-infer", failure)
    # a shard may be empty, or hold nothing but files that failed
    if part is None and not job.done and not job.skipped and not job.interrupted:
        raise InputError("no file could be used")
    where = ", ".join(out for out in outs if out != STDOUT)
    videos = number_of(job.done, "video")
    counts = [f"{videos}, {job.records} {'classes' if job.choice.classes_only else 'segments'}"]
    if job.skipped:
        counts.append(f"{job.skipped} already there")
    console.note("; ".join(counts) + (f" -> {where}" if where else ""), quiet=quiet)
    context = click.get_current_context()
    if job.failures:
        console.note(f"{len(job.failures)} of {count} files failed")
    if job.interrupted:
        left = count - job.done - job.skipped - len(job.failures)
        console.note(
            f"interrupted: {number_of(left, 'file')} left; --skip-existing goes on with them"
        )
        context.exit(console.EXIT_INTERRUPTED)
    if job.failures:
        context.exit(console.EXIT_SOME_FAILED)
