"""co2net-bench report: runs become one page; two runs are compared for a user's CI."""

from pathlib import Path

import click

from co2net_benchmarks.cli.options import PATH, explain_option, print_tables
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.run_file import Run, read_runs, report_json
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path, output_folder, write_text
from co2net_runtime.files.records import from_mapping
from co2net_runtime.files.text import number_of

EPILOG = """
\b
Examples:
  co2net-bench report latency.json parity.json accuracy.json -o report.html
  co2net-bench report --compare old.json new.json --fail-over 10%
  co2net-bench report --compare old.json new.json --relative --allow-missing
"""


class Percent(click.ParamType[float]):
    """A percentage, '10' or '10%', as a share: 0.1."""

    name = "percent"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text; fail with a usage error."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            percent = float(text.removesuffix("%"))
        except ValueError:
            percent = -1.0
        if not 0 <= percent < 10_000:
            self.fail(f"{value!r}: expected a percentage, as in 10 or 10%", param, ctx)
        if 0 < percent < 1 and not text.endswith("%"):
            self.fail(f"{text} is ambiguous: write {percent:g}% or {100 * percent:g}%", param, ctx)
        return percent / 100


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN...]")
@click.option(
    "--out", "-o", type=PATH, help="The page; .json, .md and a .png are written beside it."
)
@click.option(
    "--compare",
    type=PATH,
    nargs=2,
    metavar="OLD NEW",
    help="Compare the latency runs of two run files or reports' JSONs instead.",
)
@click.option(
    "--fail-over",
    type=Percent(),
    metavar="PERCENT",
    default="10%",
    show_default=True,
    help="With --compare: the gate fails if a figure got worse by more than this, as in 10 or 10%.",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="With --compare: let targets or figures be gone in NEW; otherwise the gate fails.",
)
@click.option(
    "--relative",
    is_flag=True,
    help="With --compare: compare times as ratios to each run's reference target, which "
    "survives another machine.",
)
@explain_option
@console.quiet_option
@console.version_option
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    compare: tuple[Path, Path] | None,
    fail_over: float,
    allow_missing: bool,
    relative: bool,
    explain: bool,
    quiet: bool,
) -> None:
    """Make one self-contained page of RUN files, with all tables and charts.

    RUN is a file that latency, parity or accuracy wrote (--out, or --json to a file), or the JSON
    beside a report. With --compare, print the changes between two runs; the exit code is 3 if
    the gate fails: a figure got worse by more than --fail-over, or is gone in NEW.
    """
    if compare is not None:
        if runs or out is not None:
            raise click.UsageError("--compare takes its two files and no RUN or --out")
        _compare(
            *compare, fail_over, relative=relative, allow_missing=allow_missing, explain=explain
        )
        return
    if not runs:
        raise click.UsageError("give RUN files, or --compare OLD NEW")
    if out is None:
        raise click.UsageError("give the page to write: -o report.html")
    if out.suffix != ".html":
        raise click.UsageError(f"{out}: expected a name that ends in .html")
    # matplotlib takes a while to import
    from co2net_benchmarks.report.report import Report

    output_folder(out.parent)
    read = [run for path in runs for run in read_runs(path)]
    made = Report(read)
    pages = {
        out: made.to_html(),
        out.with_suffix(".json"): report_json(read),
        out.with_suffix(".md"): made.to_markdown(),
    }
    for path, text in pages.items():
        write_text(path, text)
        click.echo(path)
    if (picture := made.to_png()) is not None:
        with atomic_path(out.with_suffix(".png")) as path:
            path.write_bytes(picture)
        click.echo(out.with_suffix(".png"))
    console.note(number_of(len(read), "run"), quiet=quiet)


def _compare(
    old: Path, new: Path, fail_over: float, *, relative: bool, allow_missing: bool, explain: bool
) -> None:
    from co2net_benchmarks.report.compare_runs import compare_runs, comparison_table

    before, after = read_runs(old), read_runs(new)
    for difference in before[0].machine.differences(after[0].machine):
        console.note(f"warning: not from one machine: {difference}")
    changes = compare_runs(
        _latency(before, old), _latency(after, new), fail_over, relative=relative
    )
    print_tables([comparison_table(changes, fail_over)], explain=explain)
    worse = [change for change in changes if change.verdict == "regressed"]
    missing = sorted({change.target for change in changes if change.verdict == "missing"})
    if missing:
        advice = "" if allow_missing else "; if that is meant, add --allow-missing"
        console.note(f"not in {new}, or not in full: {', '.join(missing)}{advice}")
    if worse:
        console.note(f"{len(worse)} of {len(changes)} figures got worse")
    if worse or (missing and not allow_missing):
        click.get_current_context().exit(console.EXIT_GATE_FAILED)


def _latency(runs: tuple[Run, ...], path: Path) -> list[LatencyResults]:
    found = [
        from_mapping(LatencyResults, run.results, str(path))
        for run in runs
        if run.kind == "latency"
    ]
    if not found:
        raise InputError(f"{path}: no latency run in it: only those are compared")
    return found
