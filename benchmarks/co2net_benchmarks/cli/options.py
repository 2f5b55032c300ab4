"""Options that several commands share, and where their results go."""

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.run_file import Run, now
from co2net_benchmarks.tables import Table
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import BACKENDS
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import MOST_THREADS
from co2net_runtime.files.atomic import output_folder
from co2net_runtime.files.records import to_mapping
from co2net_runtime.options import LONGEST_VIDEO

PATH = click.Path(path_type=Path)

# headings on the help page of a command that has these options
ENGINE_GROUPS = {
    "Engine": "--threads --device --backend",
}

explain_option = click.option(
    "--explain", is_flag=True, help="Also print what the columns of each table mean."
)
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of planted features."
)


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers of at least 1, separated by commas: '250,50' -> (50, 250), ascending, each once."""

    name = "numbers"

    def __init__(self, what: str, example: str, most: int | None = None) -> None:
        """Remember what is counted, for the error message, and the largest number."""
        self._what, self._most = what, most
        self._expected = f"expected {what}, each at least 1, as in {example}"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the text; fail with a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            numbers = (0,)
        if numbers[0] < 1:
            self.fail(f"{value!r}: {self._expected}", param, ctx)
        if self._most is not None and numbers[-1] > self._most:
            self.fail(f"{numbers[-1]}: {self._what} are at most {self._most}", param, ctx)
        return numbers


LENGTHS = Numbers("lengths in snippets", "50,250", LONGEST_VIDEO)


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


class Output:
    """Where the results of a measurement go: tables or JSON on stdout, perhaps a run file too."""

    def __init__(self, out: Path | None, *, as_json: bool, explain: bool) -> None:
        """Take the values of --out, --json and --explain."""
        self._out, self._as_json, self._explain = out, as_json, explain

    def begin(self) -> None:
        """Note machine and time before the measurement. Raises InputError for a bad folder."""
        if self._out is not None:
            output_folder(self._out.parent)
        self._machine, self._created = describe_machine(), now()

    def deliver(
        self,
        kind: str,
        settings: dict[str, Any],
        results: Any,
        tables: Iterable[Table],
        explanation: str = "",
    ) -> None:
        """Write and print.

        Args:
            kind: Of the run file.
            settings: The options in effect.
            results: The record that becomes the run file's "results".
            tables: What is printed without --json.
            explanation: Of all tables, printed below them with --explain.
        """
        command = ("co2net-bench", *sys.argv[1:])
        run = Run(kind, self._created, command, self._machine, settings, to_mapping(results))
        if self._out is not None:
            run.write(self._out)
        if self._as_json:
            click.echo(run.to_json(), nl=False)
        else:
            print_tables(tables, explain=self._explain)
            if explanation and self._explain:
                click.echo(f"\n{explanation}")


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --out, --json and --explain, which arrive as `output`, and --quiet and --version."""

    @click.option("--out", type=PATH, help="Also write a run file, for co2net-bench report.")
    @click.option("--json", "as_json", is_flag=True, help="Print the run file instead of tables.")
    @explain_option
    @console.quiet_option
    @console.version_option
    @wraps(function)
    def with_output(*args: Any, out: Path | None, as_json: bool, explain: bool, **rest: Any) -> Any:
        output = Output(out, as_json=as_json, explain=explain)
        return function(*args, output=output, **rest)

    return with_output


def print_tables(tables: Iterable[Table], *, explain: bool) -> None:
    """Print tables on stdout, a blank line between two."""
    click.echo("\n\n".join(table.to_text(explain=explain) for table in tables))
