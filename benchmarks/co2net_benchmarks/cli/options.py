"""Options that several commands share, and how they print tables."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

from co2net_benchmarks.tables import Table
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import BACKENDS
from co2net_runtime.cli.engine_options import MOST_THREADS

explain_option = click.option(
    "--explain", is_flag=True, help="Also print what the columns of each table mean."
)


# headings on the help page of a command that has these options
ENGINE_GROUPS = {
    "Engine": "--threads --device --backend",
}


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --threads, --device, --backend and --bf16; they arrive as `engine`."""

    @click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads of an operator.")
    @click.option("--device", default="auto", help="cpu, cuda:0, ...  [default: auto]")
    @click.option(
        "--backend", type=click.Choice(BACKENDS), default="auto", help="Engine of the runtime."
    )
    @click.option("--bf16", is_flag=True, help="Let the runtime compute in bfloat16 on the CPU.")
    @wraps(function)
    def with_engine(
        *args: Any, threads: int | None, device: str, backend: Any, bf16: bool, **rest: Any
    ) -> Any:
        engine = EngineOptions(threads=threads, device=device, backend=backend, bf16=bf16)
        return function(*args, engine=engine, **rest)

    return with_engine


def print_tables(tables: Iterable[Table], *, explain: bool) -> None:
    """Print tables on stdout, a blank line between two."""
    click.echo("\n\n".join(table.to_text(explain=explain) for table in tables))
