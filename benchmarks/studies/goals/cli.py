"""co2net-bench goals: what is promised of the CPU path, and what this machine reaches."""

import sys
import tempfile
from pathlib import Path

import click

from co2net.checkpoint import Checkpoint
from co2net.cli.dataset_options import dataset_options as with_dataset_options
from co2net.data.dataset import DatasetOptions, open_dataset
from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.inputs import FeatureSource
from co2net_benchmarks.run_file import Run, now
from co2net_benchmarks.runners.targets import parse_targets
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import output_folder, write_text
from co2net_runtime.files.records import to_mapping
from studies.goals.judging import goals_table
from studies.goals.points import POINTS, measure_points
from studies.goals.setup import Setup, video_files

EPILOG = """
\b
Points: 1 network in fp32, 2 network in int8, 3 short videos, 4 decoder, 5 whole command,
6 start, 7 threads and memory.
\b
Examples:
  co2net-bench goals run/best.ckpt model.onnx model.cpu.onnx model.int8.onnx --features data/
  co2net-bench goals run/best.ckpt model.onnx model.cpu.onnx model.int8.onnx --features data/ \\
      --only 4 --only 6 --out goals.md
"""

_PATH = click.Path(path_type=Path)


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("checkpoint", type=_PATH)
@click.argument("plain", type=_PATH)
@click.argument("optimised", type=_PATH)
@click.argument("int8", type=_PATH)
@click.option(
    "--features", type=_PATH, metavar="DATA", required=True, help="Dataset with test videos."
)
@with_dataset_options
@click.option(
    "--only",
    type=click.IntRange(min(POINTS), max(POINTS)),
    multiple=True,
    metavar="POINT",
    help="Measure this point; may be given several times.  [default: all]",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Turns behind each ratio; fewer than 6 give no 95 % interval.",
)
@click.option("--videos", type=click.IntRange(min=1), help="Take so many of the test videos.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engines.")
@click.option("--out", type=_PATH, help="Also write the table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print the run with all figures instead.")
@console.quiet_option
@console.version_option
def goals(
    checkpoint: Path,
    plain: Path,
    optimised: Path,
    int8: Path,
    features: Path,
    dataset_options: DatasetOptions,
    only: tuple[int, ...],
    rounds: int,
    videos: int | None,
    threads: int | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure what is promised of the CPU path, point by point, misses included.

    PLAIN, OPTIMISED and INT8 are artefacts of CHECKPOINT: of co2net-export alone, with --optimize
    cpu, and with --precision int8-cpu. On two cores all points take about a quarter of an hour.
    The exit code says whether all was measured, not whether all targets were met.
    """
    parse_targets([str(path) for path in (checkpoint, plain, optimised, int8)])
    if out is not None:
        output_folder(out.parent)
    numbers = only or tuple(POINTS)
    machine, created = describe_machine(), now()
    with tempfile.TemporaryDirectory(prefix="co2net-bench-") as name:
        dataset = open_dataset(features, dataset_options)
        width = Checkpoint.load(checkpoint).model.feature_dim
        setup = Setup(
            checkpoint=checkpoint,
            plain=plain,
            optimised=optimised,
            int8=int8,
            data=features,
            options=dataset_options,
            videos=video_files(dataset, Path(name), videos),
            source=FeatureSource(width, features),
            folder=Path(name),
            rounds=rounds,
            threads=threads,
            quiet=quiet,
        )
        found = measure_points(setup, numbers)
    notes = [f"{number}: {POINTS[number].note}" for number in sorted(set(numbers))]
    table = goals_table(found, notes)
    command = ("co2net-bench", *sys.argv[1:])
    settings = {"only": numbers, "rounds": rounds, "threads": threads, "videos": len(setup.videos)}
    results = {"goals": [{**to_mapping(goal), "verdict": goal.verdict} for goal in found]}
    run = Run("goals", created, command, machine, settings, results)
    if out is not None:
        write_text(out, table.to_markdown() + "\n")
    click.echo(run.to_json() if as_json else table.to_text(), nl=not as_json)
