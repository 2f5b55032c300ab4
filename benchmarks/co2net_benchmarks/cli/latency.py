"""co2net-bench latency: what an artefact costs on this machine."""

import sys
from pathlib import Path
from typing import get_args

import click

from co2net_benchmarks.cli.options import (
    ENGINE_GROUPS,
    engine_options,
    explain_option,
    print_tables,
)
from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.inputs import LENGTH_MIXES
from co2net_benchmarks.latency.run import Plan, Scenario, measure
from co2net_benchmarks.latency.single_stream import LatencyOptions
from co2net_benchmarks.latency.tables import PERCENTILE_NOTE, latency_tables
from co2net_benchmarks.run_file import Run, now
from co2net_benchmarks.runners.targets import parse_targets
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import output_folder
from co2net_runtime.files.records import to_mapping
from co2net_runtime.options import LONGEST_VIDEO

EPILOG = """
\b
Examples:
  co2net-bench latency run/best.ckpt model.onnx --lengths 50,250
  co2net-bench latency eager=run/best.ckpt fp32=model.onnx int8=model.int8.onnx --baselines
  co2net-bench latency model.onnx --features data/ --out latency.json
  co2net-bench latency run/best.ckpt model.onnx --mix thumos14
"""

_PATH = click.Path(path_type=Path)


class Lengths(click.ParamType[tuple[int, ...]]):
    """Comma-separated lengths in snippets: '50,250' -> (50, 250), ascending, each once."""

    name = "lengths"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the text; fail with a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            lengths = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected lengths in snippets, as in 50,250", param, ctx)
        if lengths[0] < 1:
            self.fail(f"{lengths[0]}: a length is at least 1 snippet", param, ctx)
        if lengths[-1] > LONGEST_VIDEO:
            self.fail(f"a length is at most {LONGEST_VIDEO} snippets", param, ctx)
        return lengths


@click.command(cls=console.Command, epilog=EPILOG, option_groups=ENGINE_GROUPS)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--lengths",
    type=Lengths(),
    default="50,250,750,2000",
    show_default=True,
    help="Lengths of the videos in snippets.",
)
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(get_args(Scenario)),
    multiple=True,
    help="May be given several times. single-stream: one video at a time, and cold starts. "
    "offline: throughput over a mix of lengths.  [default: single-stream, or offline with --mix]",
)
@click.option(
    "--mix",
    type=click.Choice(sorted(LENGTH_MIXES)),
    help="Mix of lengths for offline; thumos14: its 212 test videos.",
)
@click.option(
    "--mix-videos", type=click.IntRange(min=1), metavar="N", help="Take only N videos of the mix."
)
@click.option(
    "--baselines",
    "--peers",
    "baselines",
    is_flag=True,
    help="Also measure what one would take instead: torch.compile, plain export, OpenVINO.",
)
@click.option(
    "--published-decoding",
    is_flag=True,
    help="Also measure PyTorch with the published post-processing, loops in Python.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Timed runs per target and length; p90 needs 64, p99 needs 662.",
)
@click.option(
    "--length-limit",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Begin no new round of turns at a length once its rounds have taken this long.",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Fresh processes per target.",
)
@click.option(
    "--features",
    type=_PATH,
    help="Feature file or folder to cut the videos from.  [default: planted ones]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of planted features.")
@engine_options
@click.option("--no-gemm", is_flag=True, help="Do not measure the machine's matrix multiplication.")
@click.option("--out", type=_PATH, help="Also write a run file, for co2net-bench report.")
@click.option("--json", "as_json", is_flag=True, help="Print the run file instead of tables.")
@explain_option
@console.quiet_option
@console.version_option
def latency(
    targets: tuple[str, ...],
    lengths: tuple[int, ...],
    scenarios: tuple[Scenario, ...],
    mix: str | None,
    mix_videos: int | None,
    baselines: bool,
    published_decoding: bool,
    samples: int,
    length_limit: float,
    cold_starts: int,
    features: Path | None,
    seed: int,
    engine: EngineOptions,
    no_gemm: bool,
    out: Path | None,
    as_json: bool,
    explain: bool,
    quiet: bool,
) -> None:
    """Measure how long TARGETs take for one video, from the feature file to the segments.

    TARGET is [NAME=][KIND:]PATH: an ONNX file or engine runs in co2net's runtime, a checkpoint in
    PyTorch; KIND compile: takes torch.compile, plain: a plain torch.onnx.export of the checkpoint
    in ONNX Runtime with its defaults, openvino: OpenVINO. Every target has a process of its own.
    They take turns; a turn begins once the engine of the one before has left the processor, and
    the waiting ones are blocked, so ratios survive a noisy machine. Ratios are to the first
    target. The exit code is 1 if a target failed.
    """
    chosen = parse_targets(targets, baselines=baselines, published_decoding=published_decoding)
    if out is not None:
        output_folder(out.parent)
    plan = Plan(
        scenarios=scenarios or (("offline",) if mix else ("single-stream",)),
        latency=LatencyOptions(
            lengths=lengths, samples=samples, length_limit_s=length_limit, cold=cold_starts
        ),
        mix=mix,
        mix_videos=mix_videos,
        engine=engine,
        features=None if features is None else str(features),
        seed=seed,
        gemm=not no_gemm,
    )
    machine, created = describe_machine(), now()
    results = measure(chosen, plan, quiet=quiet)
    command = ("co2net-bench", *sys.argv[1:])
    run = Run("latency", created, command, machine, to_mapping(plan), to_mapping(results))
    if out is not None:
        run.write(out)
    if as_json:
        click.echo(run.to_json(), nl=False)
    else:
        print_tables(latency_tables(results), explain=explain)
        if explain:
            click.echo(f"\n{PERCENTILE_NOTE}")
    if any(info.status == "failed" for info in results.targets):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
