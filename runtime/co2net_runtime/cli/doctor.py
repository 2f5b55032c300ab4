"""co2net-doctor: what keeps an engine from working here, and how to fix it."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import gpus
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import ENGINE_GROUPS, engine_options, run_options
from co2net_runtime.diagnostics.checks import check_model, examine
from co2net_runtime.diagnostics.probe import Check, Machine
from co2net_runtime.diagnostics.recommend import BUDGET_S, recommend
from co2net_runtime.diagnostics.selftest import Result, run
from co2net_runtime.files.atomic import output_folder, write_text
from co2net_runtime.version import VERSION

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}
REPORT = "co2net-selftest"

EPILOG = """
\b
Examples:
  co2net-doctor
  co2net-doctor model.onnx --features features/
  co2net-doctor model.onnx --device cuda:0
  co2net-doctor --selftest --out report/          what to send with a question
  co2net-doctor model.onnx model.fp16.onnx --selftest
"""


@click.command("co2net-doctor", cls=console.Command, epilog=EPILOG, option_groups=ENGINE_GROUPS)
@click.argument("models", nargs=-1, metavar="[MODEL]...", type=click.Path(path_type=Path))
@click.option(
    "--selftest",
    is_flag=True,
    help="Run every engine and precision that this machine can, and compare with the CPU. "
    "Without MODEL, small models that come along.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"Folder for {REPORT}.json and {REPORT}.md; needs --selftest.",
)
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="Feature file, or folder of them, on which the segments of the fastest file beside MODEL "
    "are compared with MODEL's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@run_options
@console.quiet_option
@console.version_option
def main(
    models: tuple[Path, ...],
    selftest: bool,
    out: Path | None,
    features: Path | None,
    as_json: bool,
    quiet: bool,
    **engine: Any,
) -> None:
    """Look for what stands between you and a working engine; open and run MODEL, if given.

    On a CPU, MODEL and what was exported beside it (MODEL.int8.onnx, MODEL.cpu.onnx) are timed in
    the engines that are installed, for about ten seconds, and the fastest is named.

    Each line is ok, warn or fail, with the command that fixes it. The exit code is 1 if a line
    says fail, or a selftest failed.
    """
    if out is not None:
        if not selftest:
            raise click.UsageError("--out is for the result of --selftest")
        output_folder(out)
    console.log_to_stderr(quiet=quiet)
    options = engine_options(engine)
    checks = examine(Machine(), options.cache)
    if not selftest:
        for model in models:
            checks.append(check_model(model, options))
            if checks[-1].status == "ok" and _may_recommend(model, options):
                console.note(f"measuring {model.name} for {BUDGET_S:.0f} s", quiet=quiet)
                checks.append(recommend(model, options, features))
    results: list[Result] = []
    if selftest:
        rows = run(models, cache=options.cache)
        with console.progress(rows, "selftest", quiet=quiet) as shown:
            results = list(shown)
    document = {
        "co2net": VERSION,
        "machine": platform.platform(),
        "checks": [dataclasses.asdict(check) for check in checks],
        "selftest": [dataclasses.asdict(result) for result in results],
    }
    if out is not None:
        write_text(out / f"{REPORT}.json", json.dumps(document, indent=2) + "\n")
        write_text(out / f"{REPORT}.md", to_markdown(checks, results))
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        _print(checks)
        if results:
            click.echo("\n" + _results_table(results), nl=False)
    if out is not None:
        console.note(f"-> {out / REPORT}.json, {out / REPORT}.md", quiet=quiet)
    if any(one.status == "fail" for one in checks) or any(
        one.status == "failed" for one in results
    ):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)


def _may_recommend(model: Path, options: EngineOptions) -> bool:
    """Return whether the model would run on the CPU, where there is a choice of engines."""
    on_cpu = options.device == "cpu" or (options.device == "auto" and not gpus())
    return on_cpu and model.suffix == ".onnx" and "tensorrt" not in options.backend


def to_markdown(checks: Sequence[Check], results: Sequence[Result]) -> str:
    """Return the report for a bug report."""
    lines = [
        "# co2net selftest",
        "",
        f"co2net {VERSION} on {platform.platform()}",
        "",
        "| | what | found |",
        "|---|---|---|",
        *(f"| {one.status} | {one.name} | {_cell(one.found)} |" for one in checks),
        "",
        _results_table(results),
    ]
    return "\n".join(lines)


def _results_table(results: Sequence[Result]) -> str:
    """Return the selftest's results as a Markdown table, then what this machine lacks."""
    lines = [
        "| model | setup | result | cas | attention | bound | T = 300 | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        if one.status != "not here":
            figures = [_number(one.cas), _number(one.attention), _number(one.bound)]
            time = "" if one.median_ms is None else f"{one.median_ms:.1f} ms"
            note = _cell(one.detail or "; ".join(filter(None, (one.engine, one.layers))))
            cells = [one.model, one.setup, one.status, *figures, time, note]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "cas, attention: difference from the CPU's results (the CPU's own from PyTorch's), the "
        "worst of all lengths, alone, in batches and in chunks: of fp32 the largest, else the mean "
        "of a video; cas relative to max(1, max abs cas). The time is for orientation only.",
    ]
    lacking = {one.setup: one.detail for one in results if one.status == "not here"}
    if lacking:
        lines += ["", "Not run on this machine:", ""]
        lines += [f"- {setup}: {reason}" for setup, reason in lacking.items()]
    return "\n".join(lines) + "\n"


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        status = click.style(f"{check.status:4}", fg=COLORS[check.status])
        click.echo(f"{status}  {check.name:{width}}  {check.found}")
        if check.fix:
            click.echo(f"{'':{width + 8}}fix: {check.fix}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
