"""co2net-bench latency: what an artefact costs on this machine."""

from pathlib import Path
from typing import get_args

import click

from co2net_benchmarks.cli.options import (
    ENGINE_GROUPS,
    LENGTHS,
    PATH,
    Output,
    engine_options,
    output_options,
    seed_option,
)
from co2net_benchmarks.inputs import LENGTH_MIXES
from co2net_benchmarks.latency.run import Plan, Scenario, measure
from co2net_benchmarks.latency.single_stream import LatencyOptions
from co2net_benchmarks.latency.tables import PERCENTILE_NOTE, latency_tables
from co2net_benchmarks.runners.targets import parse_targets
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench latency run/best.ckpt model.onnx --lengths 50,250
  co2net-bench latency eager=run/best.ckpt fp32=model.onnx int8=model.int8.onnx --baselines
  co2net-bench latency model.onnx --features data/ --out latency.json
  co2net-bench latency run/best.ckpt model.onnx --mix thumos14
"""


@click.command(cls=console.Command, epilog=EPILOG, option_groups=ENGINE_GROUPS)
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--lengths",
    type=LENGTHS,
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
    help="Also measure the alternatives: torch.compile, plain export, OpenVINO.",
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
    type=PATH,
    help="Feature file or folder to cut the videos from.  [default: planted ones]",
)
@seed_option
@engine_options
@click.option("--no-gemm", is_flag=True, help="Do not measure the machine's matrix multiplication.")
@output_options
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
    output: Output,
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
    output.begin()
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
    results = measure(chosen, plan, quiet=quiet)
    tables = latency_tables(results)
    output.deliver("latency", to_mapping(plan), results, tables, PERCENTILE_NOTE)
    if any(info.status == "failed" for info in results.targets):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
