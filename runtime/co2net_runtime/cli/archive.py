"""co2net-archive: an archive of features -> shards of segments, on the actors of Ray Data."""

from pathlib import Path
from typing import Any

import click

from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import run_options
from co2net_runtime.cli.video_options import video_options

EPILOG = """
\b
FOLDER gets manifest.json and shard-000000.jsonl, ...: a line for each video, the same as
co2net-infer --shard writes. Run the command again to go on: shards that are there are left out.
With --address, FOLDER, MODEL and local INPUTs must be readable under the same path on each node.

\b
Examples:
  co2net-archive model.onnx features/ --out shards/
  co2net-archive model.onnx @files.txt --out shards/ --actors 8
  co2net-archive model.onnx videos/ --rgb rgb.onnx --flow flow.onnx --out shards/
  co2net-archive model.onnx s3://bucket/features --out /mnt/shards --address ray-head:6379
"""


@click.command("co2net-archive", cls=console.Command, epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the shards.")
@click.option("--address", help="A Ray cluster.  [default: this machine alone]")
@click.option(
    "--actors",
    type=click.IntRange(min=1),
    help="Processes that each hold the model.  [default: as many as there are CPUs for]",
)
@click.option(
    "--shard-videos",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Videos of a shard, about. A shard should last some seconds.",
)
@click.option(
    "--rgb",
    type=click.Path(path_type=Path),
    help="The inputs are videos: the RGB backbone, an ONNX file of co2net-backbone.",
)
@click.option("--flow", type=click.Path(path_type=Path), help="Videos: the flow backbone.")
@video_options
@click.option("--min-score", type=float, help="Leave out what scores lower.")
@click.option("--top-k", type=click.IntRange(min=1), help="The best of each video.")
@click.option("--batch", type=click.IntRange(min=1), help="As for co2net-infer.")
@run_options
@console.metrics_option
@console.log_format_option
@console.quiet_option
@console.version_option
def main(**given: Any) -> None:
    """Localize actions in the features or videos of an archive with MODEL, on actors of Ray Data.

    INPUTs are .npy or .npz files (with --rgb, and --flow, videos), folders of them, addresses such
    as s3://bucket/folder, or @FILE, a list of these. Videos are decoded wherever CPUs are free. A
    video's name is its path below the folder given. Threads are 1 unless given. The exit code is 1
    if files failed or shards are missing.
    """
    from co2net_runtime.cli.archive_run import archive

    archive(**given)
