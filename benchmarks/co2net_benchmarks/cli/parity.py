"""co2net-bench parity: does an artefact compute and decide what the PyTorch model does?"""

from pathlib import Path

import click

from co2net.cli.dataset_options import DATASET_GROUPS
from co2net.cli.dataset_options import dataset_options as with_dataset_options
from co2net.data.dataset import DatasetOptions
from co2net_benchmarks.cli.options import (
    ENGINE_GROUPS,
    LENGTHS,
    PATH,
    Output,
    engine_options,
    output_options,
    seed_option,
)
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench parity run/best.ckpt model.onnx
  co2net-bench parity run/best.ckpt model.fp16.onnx model.int8.onnx --features data/
  co2net-bench parity run/best.ckpt model.onnx --bf16 --features data/
  co2net-bench parity run/best.ckpt model.fp16.onnx --bisect
"""

OPTION_GROUPS = {
    **DATASET_GROUPS,
    **ENGINE_GROUPS,
}


@click.command(cls=console.Command, epilog=EPILOG, option_groups=OPTION_GROUPS)
@click.argument("checkpoint", type=PATH)
@click.argument("artefacts", nargs=-1, required=True, type=PATH, metavar="ARTEFACT...")
@click.option(
    "--features",
    type=PATH,
    metavar="DATA",
    help="Videos to judge decisions on: a feature file, a folder of them, or a dataset, whose "
    "annotations then give the mAP, too.",
)
@click.option(
    "--videos", type=click.IntRange(min=1), metavar="N", help="Judge on only N of DATA's videos."
)
@with_dataset_options
@click.option(
    "--lengths",
    type=LENGTHS,
    default="1,2,3,17,50,250,750",
    show_default=True,
    help="Lengths of the planted videos that tensors are compared on, in snippets.",
)
@seed_option
@click.option(
    "--bisect",
    "with_bisection",
    is_flag=True,
    help="Name the first tensor inside the graph that differs from a fresh fp32 export.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Of --bisect, in units of max(1, largest value).  [default: by precision]",
)
@engine_options
@output_options
def parity(
    checkpoint: Path,
    artefacts: tuple[Path, ...],
    features: Path | None,
    videos: int | None,
    dataset_options: DatasetOptions,
    lengths: tuple[int, ...],
    seed: int,
    with_bisection: bool,
    tolerance: float | None,
    engine: EngineOptions,
    output: Output,
    quiet: bool,
) -> None:
    """Compare ARTEFACTs, in the runtime, with CHECKPOINT in PyTorch: tensors, decisions, mAP.

    CHECKPOINT may be a published state dict; what it does not hold is read off the first
    artefact. The exit code is 3 if an artefact does not meet its precision's gate, 1 if one
    cannot be compared.
    """
    output.begin()
    try:
        from co2net_benchmarks.parity.run import ParityPlan, run_parity
        from co2net_benchmarks.parity.tables import parity_tables
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name}", "export", "comparing with the PyTorch model"
        ) from error
    plan = ParityPlan(
        lengths=lengths,
        seed=seed,
        features=None if features is None else str(features),
        videos=videos,
        engine=engine,
        bisect=with_bisection,
        tolerance=tolerance,
    )
    results = run_parity(checkpoint, artefacts, plan, dataset_options, quiet=quiet)
    output.deliver("parity", to_mapping(plan), results, parity_tables(results))
    if any(one.failures for one in results.artefacts):
        click.get_current_context().exit(console.EXIT_GATE_FAILED)
    if any(one.status == "failed" for one in results.artefacts):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
