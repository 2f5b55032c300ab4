"""co2net-bench parity: does an artefact compute and decide what the PyTorch model does?"""

import sys
from pathlib import Path

import click

from co2net.cli.dataset_options import DATASET_GROUPS
from co2net.cli.dataset_options import dataset_options as with_dataset_options
from co2net.data.dataset import DatasetOptions
from co2net_benchmarks.cli.latency import Lengths
from co2net_benchmarks.cli.options import (
    ENGINE_GROUPS,
    engine_options,
    explain_option,
    print_tables,
)
from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.run_file import Run, now
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.files.atomic import output_folder
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench parity run/best.ckpt model.onnx
  co2net-bench parity run/best.ckpt model.fp16.onnx model.int8.onnx --features data/
  co2net-bench parity run/best.ckpt model.onnx --bf16 --features data/
  co2net-bench parity run/best.ckpt model.fp16.onnx --bisect
"""

_PATH = click.Path(path_type=Path)


OPTION_GROUPS = {
    **DATASET_GROUPS,
    **ENGINE_GROUPS,
}


@click.command(cls=console.Command, epilog=EPILOG, option_groups=OPTION_GROUPS)
@click.argument("checkpoint", type=_PATH)
@click.argument("artefacts", nargs=-1, required=True, type=_PATH, metavar="ARTEFACT...")
@click.option(
    "--features",
    type=_PATH,
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
    type=Lengths(),
    default="1,2,3,17,50,250,750",
    show_default=True,
    help="Lengths of the planted videos that tensors are compared on, in snippets.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of planted features.")
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
@click.option("--out", type=_PATH, help="Also write a run file, for co2net-bench report.")
@click.option("--json", "as_json", is_flag=True, help="Print the run file instead of tables.")
@explain_option
@console.quiet_option
@console.version_option
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
    out: Path | None,
    as_json: bool,
    explain: bool,
    quiet: bool,
) -> None:
    """Compare ARTEFACTs, in the runtime, with CHECKPOINT in PyTorch: tensors, decisions, mAP.

    CHECKPOINT may be a published state dict; what it does not hold is read off the first
    artefact. The exit code is 3 if an artefact does not meet its precision's gate, 1 if one
    cannot be compared.
    """
    if out is not None:
        output_folder(out.parent)
    machine, created = describe_machine(), now()
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
    command = ("co2net-bench", *sys.argv[1:])
    run = Run("parity", created, command, machine, to_mapping(plan), to_mapping(results))
    if out is not None:
        run.write(out)
    if as_json:
        click.echo(run.to_json(), nl=False)
    else:
        print_tables(parity_tables(results), explain=explain)
    if any(one.failures for one in results.artefacts):
        click.get_current_context().exit(console.EXIT_GATE_FAILED)
    if any(one.status == "failed" for one in results.artefacts):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
