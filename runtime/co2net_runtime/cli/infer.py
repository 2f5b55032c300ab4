"""co2net-infer: features or videos -> segments."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import ENGINE_GROUPS, run_options
from co2net_runtime.cli.video_options import video_options
from co2net_runtime.output.choices import FORMATS, MEDIA, PICTURES

EPILOG = """
\b
Where results go (--out, may be given several times):
  -                  stdout (the default), in --format, JSON by default
  predictions.json   ActivityNet results of all videos; also .jsonl, .csv, and .srt of one video
  x.label-studio.json, x.via.json, x.eaf (ELAN, one video): best segments, to correct by hand
  results/           a folder with a file per video, in --format, JSON by default
Existing results are refused without --overwrite or --skip-existing. A .json or .csv is collected in
FILE.part, from which --skip-existing goes on if the process is killed.
JSON, JSON lines and CSV hold every segment; subtitles and pictures those at or above a tenth of
the video's best score. --min-score, --top-k and --best hold for all of them. Times are seconds.
Of --best, no two segments of a class overlap. confidence is the score in 0 to 1, 1/(1+exp(-score)).

\b
Examples:
  co2net-infer model.onnx video.npy
  co2net-infer model.onnx features/ --out predictions.json --out predictions.csv --plot plots/
  co2net-infer model.onnx features/ --out results/ --skip-existing
  co2net-infer model.onnx features/ --out subtitles/ --format srt --min-score 0.3
  co2net-infer model.onnx features/ --out elan/ --format eaf --media 'videos/{video}.mp4'
  co2net-infer model.onnx rgb/ --flow flow/ --device cuda:0 --out predictions.jsonl
  cat video.npy | co2net-infer model.onnx - --classes-only
  co2net-infer model.onnx @files.txt --shard 3/64 --out shards/ --skip-existing
  co2net-infer model.onnx clip.mp4 --rgb rgb.onnx --flow flow.onnx
"""


OPTION_GROUPS = {
    "Videos": "--rgb --save-features --flow-algorithm --accept-mismatch",
    "Results": "--out --format --skip-existing --overwrite --shard --classes-only "
    "--min-score --top-k --best",
    "Pictures": "--plot --plot-format --ground-truth",
    **ENGINE_GROUPS,
}


class _FilesOrStreams(console.Command):
    """Hands over to `cli.live` if --live is given: streams have options of their own."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        given = [*(sys.argv[1:] if args is None else args)]
        if "--live" not in given:
            return super().main(given, *more, **extra)
        from co2net_runtime.cli.live import live

        given.remove("--live")
        return live.main(given, **{**extra, "prog_name": "co2net-infer --live"})


@click.command("co2net-infer", cls=_FilesOrStreams, epilog=EPILOG, option_groups=OPTION_GROUPS)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("features", nargs=-1, required=True)
@click.option(
    "--flow",
    type=click.Path(path_type=Path),
    help="Folder of the flow features, under the same file names, where FEATURES are RGB only; "
    "with --rgb the flow backbone.",
)
@click.option(
    "--rgb",
    type=click.Path(path_type=Path),
    help="FEATURES are videos: the RGB backbone that makes features of them (co2net-backbone).",
)
@click.option(
    "--save-features",
    type=click.Path(path_type=Path),
    help="Videos: folder that keeps their features, as co2net-extract writes them.",
)
@video_options
@click.option("--key", metavar="NAME", help="The array to take from .npz files of several.")
@click.option(
    "--out",
    "outs",
    multiple=True,
    default=("-",),
    show_default="stdout",
    help="File or folder of the results; see below.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format on stdout and in folders; see below.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="The part I of N (0 to N - 1) of all FEATURES, for job arrays: writes "
    "shard-00000I.jsonl into the folder --out. Threads are 1 unless given.",
)
@click.option(
    "--media",
    metavar="PLACE",
    default=MEDIA,
    show_default=True,
    help="Where an annotation tool finds a video: a path or an address with {video} in it.",
)
@click.option("--skip-existing", is_flag=True, help="Go on where an earlier run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace results and pictures that exist.")
@click.option("--classes-only", is_flag=True, help="Which classes occur in the video, not where.")
@click.option("--min-score", type=float, help="Leave out what scores lower.")
@click.option("--top-k", type=click.IntRange(min=1), help="The best of each video.")
@click.option("--best", is_flag=True, help="Of each component and class the best segment only.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Videos of similar length run together.  [default: 8 on a GPU, 1 on a CPU]",
)
@click.option(
    "--chunk",
    type=click.IntRange(min=1),
    metavar="SNIPPETS",
    help="Longer videos run in chunks of this many snippets through MODEL.chunk.onnx, with the "
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
    help="html: a page by itself, to hover and zoom, with the video beside it if there is one; "
    "index.html lists the pages.",
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
@console.metrics_option
@console.log_format_option
@console.quiet_option
@console.version_option
def main(**given: Any) -> None:
    """Localize actions in FEATURES with MODEL, an ONNX file of co2net-export.

    FEATURES are .npy or .npz files of snippet features (T, D), folders of them, or glob patterns;
    - reads one .npy from stdin; @FILE stands for the lines of a text file. With --rgb (and --flow)
    they are videos, and the backbones make features of them. MODEL may be an engine of
    co2net-engine, or lie on the Hugging Face Hub: hf://ORG/NAME.
    A file that cannot be used is reported, the others are still done, and the exit code is 1.
    Ctrl-C ends after the current file and writes what there is (exit code 130).
    """
    # numpy and what needs it: --help answers in half the time without
    from co2net_runtime.cli.infer_run import infer

    infer(**given)
