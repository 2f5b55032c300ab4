"""What co2net-infer does with its options: opens the model and the outputs, runs, reports."""

import dataclasses
import functools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from co2net_runtime.backends.options import choose_cpu_form
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import engine_options
from co2net_runtime.cli.infer_job import Choice, Job, describe
from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile, find_feature_files
from co2net_runtime.files.atomic import begin_sha256, output_folder
from co2net_runtime.localizer import Localizer
from co2net_runtime.output.choices import FormatName
from co2net_runtime.output.formats import make_format
from co2net_runtime.output.sinks import STDOUT, is_folder, name_formats, open_sink
from co2net_runtime.output.timeline import Pictures


def infer(
    model: Path,
    features: tuple[str, ...],
    flow: Path | None,
    outs: tuple[str, ...],
    form: FormatName | None,
    skip_existing: bool,
    classes_only: bool,
    min_score: float | None,
    top_k: int | None,
    batch: int | None,
    chunk: int | None,
    plot: Path | None,
    plot_format: tuple[str, ...],
    ground_truth: Path | None,
    quiet: bool,
    **engine: Any,
) -> None:
    """Localize the actions in feature files; the arguments are the options of co2net-infer.

    Raises click.UsageError for options that do not go together, and what `Localizer.load`,
    `find_feature_files` and `open_sink` raise. Ends the click command with the exit code.
    """
    if ground_truth is not None and plot is None:
        raise click.UsageError("--ground-truth is drawn into the pictures: give --plot DIR")
    names = name_formats(outs, form)
    choice = Choice(min_score, top_k, classes_only)
    _check_outs(outs, names, choice, features, skip_existing=skip_existing)
    console.log_to_stderr(quiet=quiet)
    files = find_feature_files(features, flow)
    if any(name == "srt" and not is_folder(out) for out, name in zip(outs, names, strict=True)):
        _require_one(files)
    with ExitStack() as stack:
        pictures = None
        if plot is not None:
            pictures = Pictures(output_folder(plot), plot_format, ground_truth)
        # while the engine is imported and opened, which takes one core
        model_sha256 = begin_sha256(model)
        options = engine_options(engine)
        # all files, also those that --skip-existing leaves out: a resumed run rounds as the first
        cpu_form = choose_cpu_form(file.length() for file in files)
        options = dataclasses.replace(options, cpu_form=cpu_form)
        localizer = stack.enter_context(Localizer.load(model, options, chunk=chunk))
        console.note(str(localizer.engine), quiet=quiet)
        made_by = functools.cache(lambda: describe(model, model_sha256(), localizer, choice))
        sinks = []
        for out, name in zip(outs, names, strict=True):
            written = make_format(name, made_by, localizer.contract.classes, choice.shown_share)
            sinks.append(open_sink(out, name, written, resume=skip_existing))
            stack.callback(sinks[-1].close)
        job = Job(localizer, sinks, choice, pictures)
        job.run(files, batch, skip_existing=skip_existing, quiet=quiet)
    _report(job, len(files), outs, quiet=quiet)


def _check_outs(
    outs: Sequence[str],
    names: Sequence[FormatName],
    choice: Choice,
    features: Sequence[str],
    *,
    skip_existing: bool,
) -> None:
    if choice.classes_only and "srt" in names:
        raise click.UsageError("--classes-only has no times to make subtitles of")
    if len(set(outs)) < len(outs):
        raise click.UsageError("--out names the same place twice")
    if skip_existing:
        if "-" in features:
            raise click.UsageError("--skip-existing has nothing to go on with where stdin is read")
        for out, name in zip(outs, names, strict=True):
            if out == STDOUT or (name == "srt" and not is_folder(out)):
                raise click.UsageError(
                    "--skip-existing needs results that can be gone on with: give --out FILE.json, "
                    "FILE.jsonl, FILE.csv or a folder"
                )


def _require_one(files: Sequence[FeatureFile]) -> None:
    if len(files) > 1:
        raise click.UsageError(
            f"subtitles are one file per video, and there are {len(files)}: "
            "give --out FOLDER --format srt"
        )


def _report(job: Job, count: int, outs: Sequence[str], *, quiet: bool) -> None:
    """Say what was done, and end with the exit code that fits."""
    for failure in job.failures:
        console.note(f"co2net-infer: error: {failure}")
    if not job.done and not job.skipped and not job.interrupted:
        raise InputError(f"none of the {count} feature files could be used")
    where = ", ".join(out for out in outs if out != STDOUT)
    videos = "1 video" if job.done == 1 else f"{job.done} videos"
    counts = [f"{videos}, {job.records} {'classes' if job.choice.classes_only else 'segments'}"]
    if job.skipped:
        counts.append(f"{job.skipped} already there")
    console.note("; ".join(counts) + (f" -> {where}" if where else ""), quiet=quiet)
    context = click.get_current_context()
    if job.failures:
        console.note(f"{len(job.failures)} of {count} files failed")
    if job.interrupted:
        left = count - job.done - job.skipped - len(job.failures)
        console.note(f"interrupted: {left} files are left; --skip-existing goes on with them")
        context.exit(console.EXIT_INTERRUPTED)
    if job.failures:
        context.exit(console.EXIT_SOME_FAILED)
