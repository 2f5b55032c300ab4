"""co2net-infer: features -> segments."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from co2net_runtime import console
from co2net_runtime.engine_options import load_arguments, run_options
from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile, find_feature_files
from co2net_runtime.files import output_folder
from co2net_runtime.infer_job import Choice, Job, describe
from co2net_runtime.localizer import Localizer
from co2net_runtime.result_files import STDOUT, is_folder, name_formats, open_sink
from co2net_runtime.result_formats import FORMATS, FormatName, make_format
from co2net_runtime.timeline import PICTURES, Pictures

EPILOG = """
\b
Where results go (--out, may be given several times):
  -                  stdout (the default), in --format, JSON by default
  predictions.json   ActivityNet results of all videos; also .jsonl, .csv, and .srt of one video
  results/           a folder with a file per video, in --format, JSON by default
JSON, JSON lines and CSV hold every segment; subtitles and pictures those at or above a tenth of
the video's best score. --min-score and --top-k hold for all of them. Times are seconds.

\b
Examples:
  co2net-infer model.onnx video.npy
  co2net-infer model.onnx features/ --out predictions.json --out predictions.csv --plot plots/
  co2net-infer model.onnx features/ --out results/ --skip-existing
  co2net-infer model.onnx features/ --out subtitles/ --format srt --min-score 0.3
  co2net-infer model.onnx rgb/ --flow flow/ --device cuda:0 --out predictions.jsonl
  cat video.npy | co2net-infer model.onnx - --classes-only
  extract-features camera | co2net-infer model.onnx --live -
"""


class _FilesOrStreams(console.Command):
    """Hands over to live_cli where --live is given: streams have options of their own."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        given = [*(sys.argv[1:] if args is None else args)]
        if "--live" not in given:
            return super().main(given, *more, **extra)
        from co2net_runtime.live_cli import live

        given.remove("--live")
        return live.main(given, **{**extra, "prog_name": "co2net-infer --live"})


@click.command("co2net-infer", cls=_FilesOrStreams, epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("features", nargs=-1, required=True)
@click.option(
    "--flow",
    type=click.Path(path_type=Path),
    help="Folder of the flow features, under the same file names, where FEATURES are RGB only.",
)
@click.option(
    "--out",
    "outs",
    multiple=True,
    default=(STDOUT,),
    show_default="stdout",
    help="File or folder of the results; see below.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format on stdout and in folders; see below.",
)
@click.option("--skip-existing", is_flag=True, help="Go on where an earlier run stopped.")
@click.option("--classes-only", is_flag=True, help="Which classes occur in the video, not where.")
@click.option("--min-score", type=float, help="Leave out what scores lower.")
@click.option("--top-k", type=click.IntRange(min=1), help="The best of each video.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Videos of similar length run together.  [default: 8 on a GPU, 1 on a CPU]",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="SNIPPETS",
    help="Longer videos run in chunks of so many snippets through MODEL.stream.onnx, with the "
    "same result at constant memory.  [default: 4096]",
)
@run_options
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Folder for a timeline picture per video."
)
@click.option(
    "--plot-format",
    type=click.Choice(PICTURES),
    multiple=True,
    default=("png",),
    show_default=True,
    help="html: a page by itself, to hover and zoom.",
)
@click.option(
    "--ground-truth",
    type=click.Path(path_type=Path),
    help="ActivityNet-style annotation JSON, drawn into the pictures.",
)
@click.option(
    "--live",
    is_flag=True,
    expose_value=False,
    help="Streams in place of files: see co2net-infer --live --help.",
)
@console.quiet_option
@console.version_option
def main(
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
    """Localize actions in FEATURES with MODEL, an ONNX file of co2net-export.

    FEATURES are .npy or .npz files of snippet features (T, D), folders of them, or glob patterns;
    - reads one .npy from stdin. MODEL may be an engine of co2net-engine.
    A file that cannot be used is reported, the others are still done, and the exit code is 1.
    Ctrl-C ends after the current file and writes what there is (exit code 130).
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
        localizer = stack.enter_context(
            Localizer.load(model, **load_arguments(engine), chunk=chunk)
        )
        console.note(str(localizer.engine), quiet=quiet)
        made_by = describe(model, localizer, choice)
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
    counts = [
        f"{job.done} videos, {job.records} {'classes' if job.choice.classes_only else 'segments'}"
    ]
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
