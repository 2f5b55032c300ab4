"""Options that several commands share, and how they print tables."""

from collections.abc import Iterable

import click

from co2net_benchmarks.tables import Table

explain_option = click.option(
    "--explain", is_flag=True, help="Also print what the columns of each table mean."
)


def print_tables(tables: Iterable[Table], *, explain: bool) -> None:
    """Print tables on stdout, a blank line between two."""
    click.echo("\n\n".join(table.to_text(explain=explain) for table in tables))
