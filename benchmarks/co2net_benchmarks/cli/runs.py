"""co2net-bench runs: training runs side by side."""

from pathlib import Path

import click

from co2net_benchmarks.cli.options import explain_option, print_tables
from co2net_runtime.cli import console

EPILOG = """
\b
Examples:
  co2net-bench runs runs/baseline runs/dropout
  co2net-bench runs runs/*
"""


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN..."
)
@explain_option
@console.version_option
def runs(folders: tuple[Path, ...], explain: bool) -> None:
    """Print training runs side by side: settings that differ, iterations, loss, mAP.

    RUN is a folder that co2net-train wrote, of a run that has ended or goes on.
    """
    from co2net_benchmarks.report.training_runs import read_training_run, runs_table

    print_tables([runs_table([read_training_run(folder) for folder in folders])], explain=explain)
