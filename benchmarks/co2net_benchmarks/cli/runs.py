"""co2net-bench runs: training runs side by side."""

from pathlib import Path

import click

from co2net_benchmarks.cli.options import PATH, explain_option, print_tables
from co2net_benchmarks.tables import Table
from co2net_runtime.cli import console

EPILOG = """
\b
Examples:
  co2net-bench runs runs/baseline runs/dropout
  co2net-bench runs runs/*
"""


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("folders", nargs=-1, required=True, type=PATH, metavar="RUN...")
@explain_option
@console.version_option
def runs(folders: tuple[Path, ...], explain: bool) -> None:
    """Print training runs side by side: settings that differ, iterations, loss, mAP.

    RUN is a folder that co2net-train wrote, of a run that has ended or goes on.
    """
    from co2net.results.side_by_side import LOSS_WINDOW, read_training_run, side_by_side

    rows = side_by_side([read_training_run(folder) for folder in folders])
    explanation = (
        "Settings are those that differ between the runs. last, best: the last evaluation, and the "
        "one that --select chose once the run has ended; mAP in percent. loss: mean of the total "
        f"over the last {LOSS_WINDOW} iterations."
    )
    columns = ("", *map(str, folders))
    table = Table("Training runs", columns, tuple(rows), explanations=(explanation,))
    print_tables([table], explain=explain)
