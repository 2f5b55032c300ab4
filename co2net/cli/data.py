"""co2net-data: look at datasets, convert them, plant synthetic ones."""

import dataclasses
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import click

from co2net.cli.dataset_options import DATASET_GROUPS, dataset_options
from co2net.cli.inspection_text import to_text
from co2net.config import WIDEST
from co2net.data.annotations import ANNOTATIONS_FILE, read_annotations, write_annotations
from co2net.data.dataset import DatasetOptions, open_dataset
from co2net.data.inspection import inspect
from co2net.data.layout import (
    FeatureDtype,
    prepare_layout,
    write_features,
    write_layout_annotations,
)
from co2net.data.synthetic import SyntheticOptions, plant_features
from co2net.data.synthetic_annotations import random_annotations
from co2net.data.synthetic_video import MOST_CLASSES, load_av, write_scripts, write_video
from co2net.data.synthetic_video import annotations as script_annotations
from co2net.data.video import Annotations, Video
from co2net_runtime.artefact.backbone import Stream
from co2net_runtime.cli.console import (
    EXIT_SOME_FAILED,
    Group,
    note,
    progress,
    quiet_option,
    version_option,
)
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_file, output_folder
from co2net_runtime.files.text import number_of

_PATH = click.Path(path_type=Path)
# of synthetic data: more is a slip of the finger, and would fill memory or disk
MOST_VIDEOS = 1_000_000
MOST_RANDOM_CLASSES = 10_000

_dtype_option = click.option(
    "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
    help="Precision of the written features; float16 takes half the disk.",
)  # fmt: skip
_seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The same seed gives the same files.",
)
_overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Write into OUT even if it holds files."
)


@click.group("co2net-data", cls=Group)
@version_option
def main() -> None:
    """Look at datasets, convert them, plant synthetic ones.

    A dataset DATA is a published bundle (the folder that holds NAME-I3D-JOINTFeatures.npy and
    NAME-Annotations), or a folder of per-video .npy features with ActivityNet-style annotations:
    both streams in one file, or in folders called rgb and flow.
    """


@main.command("inspect", option_groups=DATASET_GROUPS)
@click.argument("data", type=_PATH)
@dataset_options
@click.option("--deep", is_flag=True, help="Read every value, not just those of 16 videos.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@quiet_option
def inspect_command(
    data: Path, dataset_options: DatasetOptions, deep: bool, as_json: bool, quiet: bool
) -> int:
    """Say what DATA holds and what is odd about it.

    Exit code 1 if some feature files cannot be used.

    \b
    Example:
      co2net-data inspect thumos14/ --deep
    """
    dataset = open_dataset(data, dataset_options, check=False)

    def bar(videos: Iterable[Video]) -> AbstractContextManager[Iterable[Video]]:
        return progress(videos, "reading", quiet=quiet)

    report = inspect(dataset, deep=deep, progress=bar)
    click.echo(json.dumps(dataclasses.asdict(report), indent=1) if as_json else to_text(report))
    return EXIT_SOME_FAILED if report.problems else 0


@main.command(option_groups=DATASET_GROUPS)
@click.argument("data", type=_PATH)
@click.argument("out", type=_PATH)
@dataset_options
@_dtype_option
@_overwrite_option
@quiet_option
def convert(
    data: Path,
    out: Path,
    dataset_options: DatasetOptions,
    dtype: FeatureDtype,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Write the dataset DATA to the folder OUT, one .npy per video.

    What a bundle needs in memory all at once is then read as it is used. A video whose features
    cannot be used (NaN, no snippets, ...) is reported and left out; the exit code is then 1.

    \b
    Example:
      co2net-data convert published/ thumos14/ --dtype float16
    """
    dataset = open_dataset(data, dataset_options, check=False)
    for warning in dataset.warnings:
        note(f"warning: {warning}", quiet=quiet)
    folder = prepare_layout(out, overwrite=overwrite)
    videos = [v for v in dataset.annotations.videos if dataset.has_features(v.name)]
    problems = []
    with progress(videos, "writing", quiet=quiet) as bar:
        for video in bar:
            try:
                rows = dataset.features(video.name)
                write_features(folder, video.name, rows, dtype, dataset.where(video.name))
            except InputError as error:
                problems.append(str(error))
    for problem in problems:
        note(f"error: {problem}")
    if len(problems) == len(videos):
        raise InputError(f"{data}: no video's features can be used, nothing was written")
    write_layout_annotations(
        folder,
        dataset.annotations,
        dataset.timing,
        dataset.rgb_dim,
        dataset.flow_dim,
        dataset.extraction,
    )
    note(f"{out}: wrote {len(videos) - len(problems)} of {len(videos)} videos", quiet=quiet)
    return EXIT_SOME_FAILED if problems else 0


@main.command()
@click.argument("out", type=_PATH)
@click.option(
    "--annotations",
    type=_PATH,
    metavar="PATH",
    help="Real annotations to plant under: JSON, or a bundle's annotation folder. Default: random "
    "ones.",
)
@click.option(
    "--classes",
    type=click.IntRange(1, MOST_RANDOM_CLASSES),
    metavar="N",
    help="Classes of the random annotations.  [default: 20]",
)
@click.option(
    "--videos",
    type=click.IntRange(3, MOST_VIDEOS),
    metavar="N",
    help="Videos of the random annotations; every third is to test on.  [default: 300]",
)
@_seed_option
@click.option(
    "--rgb-dim",
    type=click.IntRange(1, WIDEST),
    default=1024,
    show_default=True,
    metavar="N",
    help="Channels of the RGB stream.",
)
@click.option(
    "--flow-dim",
    type=click.IntRange(1, WIDEST),
    default=1024,
    show_default=True,
    metavar="N",
    help="Channels of the flow stream.",
)
@_dtype_option
@_overwrite_option
@quiet_option
def synth(
    out: Path,
    annotations: Path | None,
    classes: int | None,
    videos: int | None,
    seed: int,
    rgb_dim: int,
    flow_dim: int,
    dtype: FeatureDtype,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Plant synthetic two-stream features in the folder OUT.

    Appearance (RGB) also shows outside actions and motion (flow) also occurs without an action;
    only where both agree there is one. The same seed gives the same features.

    \b
    Examples:
      co2net-data synth demo/ --classes 5 --videos 60 --rgb-dim 64 --flow-dim 64
      co2net-data synth planted/ --annotations Thumos14reduced-Annotations/ --dtype float16
    """
    source = _annotations(annotations, classes, videos, seed)
    for warning in source.warnings:
        note(f"warning: {warning}", quiet=quiet)
    options = SyntheticOptions(seed=seed, rgb_dim=rgb_dim, flow_dim=flow_dim)
    folder = prepare_layout(out, overwrite=overwrite)
    with progress(source.videos, "planting", quiet=quiet) as bar:
        for video in bar:
            rows = plant_features(video, len(source.classes), options)
            write_features(folder, video.name, rows, dtype)
    write_layout_annotations(folder, source, options.timing, rgb_dim, flow_dim)
    note(
        f"{out}: planted {number_of(len(source.videos), 'video')} of "
        f"{number_of(len(source.classes), 'class')}",
        quiet=quiet,
    )


def _annotations(
    path: Path | None, classes: int | None, videos: int | None, seed: int
) -> Annotations:
    if path is None:
        return random_annotations(classes or 20, videos or 300, seed)
    if classes is not None or videos is not None:
        raise click.UsageError("--classes and --videos are for random annotations")
    return read_annotations(path)


@main.command("synth-videos")
@click.argument("out", type=_PATH)
@click.option(
    "--classes", type=click.IntRange(2, MOST_CLASSES), default=MOST_CLASSES, show_default=True,
    metavar="N", help="Kinds of actions.",
)  # fmt: skip
@click.option(
    "--videos", type=click.IntRange(3, MOST_VIDEOS), default=30, show_default=True, metavar="N",
    help="Every third is to test on.",
)  # fmt: skip
@_seed_option
@_overwrite_option
@quiet_option
def synth_videos(
    out: Path, classes: int, videos: int, seed: int, overwrite: bool, quiet: bool
) -> None:
    """Render short untrimmed videos into OUT/videos, and their annotations.

    A class is a textured shape that moves its own way. The shape alone, standing still, and the
    motion alone, of a gray shape, are no action. With features in OUT/features, OUT is a dataset.
    The same seed gives the same videos. Needs PyAV (co2net[video]).

    \b
    Example:
      co2net-data synth-videos demo/
      co2net-extract demo/videos --rgb rgb.onnx --flow flow.onnx --out demo/features
    """
    load_av()
    scripts = write_scripts(classes, videos, seed)
    folder = prepare_layout(out, overwrite=overwrite)
    target = output_folder(folder / "videos")
    with progress(scripts, "rendering", quiet=quiet) as bar:
        for script in bar:
            write_video(script, target / f"{script.name}.mp4")
    write_annotations(script_annotations(scripts, classes), folder / ANNOTATIONS_FILE)
    seconds = sum(script.duration_s for script in scripts)
    note(f"{out}: rendered {number_of(len(scripts), 'video')}, {seconds:.0f} s", quiet=quiet)


@main.command("synth-backbone")
@click.argument("out", type=_PATH)
@click.option(
    "--stream", type=click.Choice(["rgb", "flow"]), required=True, help="Of I3D's two networks."
)
@_seed_option
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def synth_backbone(out: Path, stream: Stream, seed: int, overwrite: bool) -> None:
    """Write the weights OUT of an untrained I3D, a sixteenth as wide as the published one.

    For demonstrations without trained weights: co2net-backbone makes an ONNX file of them. The same
    seed gives the same weights.

    \b
    Example:
      co2net-data synth-backbone rgb.pt --stream rgb
      co2net-backbone rgb.pt rgb.onnx --stream rgb
    """
    output_file(out, overwrite=overwrite)
    from co2net.backbone.untrained import untrained_i3d
    from co2net.checkpoint import write_torch

    write_torch(out, untrained_i3d(stream, seed).state_dict())
