"""All runs on one page: an overview, then every table and chart."""

import html
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from co2net_benchmarks.accuracy.results import AccuracyResults
from co2net_benchmarks.accuracy.tables import accuracy_tables
from co2net_benchmarks.hardware.machine import Machine
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.latency.tables import PERCENTILE_NOTE, latency_tables
from co2net_benchmarks.parity.results import ParityResults
from co2net_benchmarks.parity.tables import parity_tables
from co2net_benchmarks.report import charts
from co2net_benchmarks.report.overview import Overview
from co2net_benchmarks.report.page import render_page
from co2net_benchmarks.run_file import Run
from co2net_benchmarks.tables import Table
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping

TITLE = "CO2-Net artefacts measured"


@dataclass(frozen=True)
class Section:
    """A heading with charts and tables below it."""

    title: str
    charts: tuple[tuple[str, str], ...]  # (title, SVG)
    tables: tuple[Table, ...]
    note: str = ""
    tables_first: bool = False  # charts stand first otherwise


class Report:
    """The content of a report, made from runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """Read the runs' results. Raises InputError for an unknown kind or content."""
        self.runs = tuple(runs)
        self.latency: list[LatencyResults] = []
        self.parity: list[ParityResults] = []
        self.accuracy: list[AccuracyResults] = []
        for run in runs:
            where = f"run of {run.created}: {run.kind}"
            if run.kind == "latency":
                self.latency.append(from_mapping(LatencyResults, run.results, where))
            elif run.kind == "parity":
                self.parity.append(from_mapping(ParityResults, run.results, where))
            elif run.kind == "accuracy":
                self.accuracy.append(from_mapping(AccuracyResults, run.results, where))
            else:
                raise InputError(f"{where}: this program does not know runs of that kind")
        names = [info.name for one in self.latency for info in one.targets]
        names += [one.name for results in self.parity for one in results.artefacts]
        names += [Path(one.source).name for one in self.accuracy]
        self._palette = charts.Palette(names)
        self.overview = Overview(self.latency, self.parity, self.accuracy)

    def sections(self) -> list[Section]:
        """Return the report's sections in reading order."""
        found = [self._overview_section()]
        found += [self._latency_section(one) for one in self.latency]
        found += [self._parity_section(one) for one in self.parity]
        if self.accuracy:
            tables = [table for one in self.accuracy for table in accuracy_tables(one)]
            found.append(Section("Accuracy", (), tuple(tables)))
        return found

    def to_markdown(self) -> str:
        """Return the tables as Markdown, for pasting."""
        parts = [f"# {TITLE}", *(f"- {line}" for line in self._facts())]
        for section in self.sections():
            parts.append(f"\n## {section.title}\n")
            parts += [f"{table.to_markdown()}\n" for table in section.tables]
            parts += [section.note] if section.note else []
        return "\n".join(parts) + "\n"

    def to_html(self) -> str:
        """Return the page: one file, nothing loaded from elsewhere."""
        body = [
            "<ul class=facts>",
            *(f"<li>{html.escape(line)}" for line in self._facts()),
            "</ul>",
        ]
        for section in self.sections():
            body.append(f"<h2>{html.escape(section.title)}</h2>")
            charts_html = [
                f"<figure>{svg}<figcaption>{html.escape(title)}</figcaption></figure>"
                for title, svg in section.charts
            ]
            tables_html = [table.to_html() for table in section.tables]
            first, second = charts_html, tables_html
            body += second + first if section.tables_first else first + second
            if section.note:
                body.append(f'<p class="note">{html.escape(section.note)}</p>')
        return render_page(TITLE, "\n".join(body))

    def to_png(self) -> bytes | None:
        """Return the latency by length as a picture; None without a latency run."""
        rows = next((one.lengths for one in self.latency if one.lengths), None)
        return (
            None if rows is None else charts.to_png(charts.latency_by_length(rows, self._palette))
        )

    def _facts(self) -> list[str]:
        lines = [_describe(run.machine) for run in self.runs]
        first, *others = (run.machine for run in self.runs)
        for other in others:
            lines += [f"Not from one machine: {reason}" for reason in first.differences(other)]
        commands: dict[tuple[str, ...], Run] = {}
        for run in self.runs:
            commands.setdefault(run.command, run)
        for command, run in commands.items():
            load = run.machine.load_1m
            busy = f", load average before {load:.2f}" if load is not None else ""
            lines.append(f"{run.created}{busy}: {shlex.join(command)}")
        return list(dict.fromkeys(lines))

    def _overview_section(self) -> Section:
        points, drawn = self.overview.speed_and_accuracy(), []
        if len(points) > 1:
            chart = charts.speed_and_accuracy(points, self.overview.speed_axis, self._palette)
            caption = "Speed against accuracy, of the targets whose accuracy was judged."
            drawn.append((caption, charts.to_svg(chart, "accuracy")))
        return Section("Overview", tuple(drawn), (self.overview.table(),), tables_first=True)

    def _latency_section(self, results: LatencyResults) -> Section:
        drawn = []
        if results.lengths:
            svg = charts.to_svg(charts.latency_by_length(results.lengths, self._palette), "latency")
            drawn.append(("Latency by length, with the 95 % interval of the median.", svg))
            svg = charts.to_svg(charts.time_split(results.lengths), "split")
            drawn.append(("Where the time goes.", svg))
        if results.cold_starts:
            svg = charts.to_svg(charts.cold_starts(results.cold_starts), "cold")
            drawn.append(("Cold start: a fresh process until its first result.", svg))
        tables = latency_tables(results)
        return Section("Latency", tuple(drawn), tuple(tables), PERCENTILE_NOTE)

    def _parity_section(self, results: ParityResults) -> Section:
        named = [
            (one.name, one.margins, one.overall.attention.max_abs)
            for one in results.artefacts
            if one.margins is not None and one.overall is not None
        ]
        drawn = []
        if named:
            svg = charts.to_svg(charts.margins(named, self._palette), "margins")
            drawn.append(("How near the decisions were to the thresholds.", svg))
        return Section("Parity", tuple(drawn), tuple(parity_tables(results)))


def _describe(machine: Machine) -> str:
    memory = f", {machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else ""
    virtual = ", virtual machine" if machine.hypervisor else ""
    governor = f", governor {machine.governor}" if machine.governor else ""
    gpus = f", {'; '.join(machine.gpus)}" if machine.gpus else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    jetson = ""
    if machine.jetson is not None:
        board = machine.jetson
        hottest = max(board.temperatures_c.values(), default=None)
        warm = "" if hottest is None else f", {hottest:.0f} degrees C"
        locked = {True: ", clocks locked", False: ", clocks not locked", None: ""}
        jetson = f"; {board.release}, power mode {board.power_mode or 'unknown'}"
        jetson += locked[board.clocks_locked] + warm
    return (
        f"{machine.cpu}, {machine.cpus} processors{memory}{virtual}{governor}{gpus}, "
        f"{machine.system} {machine.architecture}{jetson}; {versions}"
    )
