"""All runs on one page: cost and worth of each target, then every table and chart."""

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
from co2net_benchmarks.parity.results import ArtefactParity, ParityResults
from co2net_benchmarks.parity.tables import parity_tables
from co2net_benchmarks.report import charts
from co2net_benchmarks.report.page import render_page
from co2net_benchmarks.run_file import Run
from co2net_benchmarks.tables import Table, megabytes, milliseconds, significant
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping

MAP_RANGE = "0.1:0.7"
# what parity and accuracy say of a file holds where the same engine runs it
_SAME_ENGINE = ("runtime", "torch")


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

    def sections(self) -> list[Section]:
        """Return the report's sections in reading order."""
        found = [self._overview()]
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
        lines = []
        for machine in dict.fromkeys(_describe(run.machine) for run in self.runs):
            lines.append(machine)
        first = self.runs[0].machine
        for run in self.runs[1:]:
            lines += [
                f"Not from one machine: {difference}"
                for difference in first.differences(run.machine)
            ]
        commands: dict[tuple[str, ...], Run] = {}
        for run in self.runs:
            commands.setdefault(run.command, run)
        for command, run in commands.items():
            load = run.machine.load_1m
            busy = f", load average before {load:.2f}" if load is not None else ""
            lines.append(f"{run.created}{busy}: {shlex.join(command)}")
        return list(dict.fromkeys(lines))

    def _overview(self) -> Section:
        lengths = sorted({row.length for one in self.latency for row in one.lengths})
        offline = any(one.offline for one in self.latency)
        compared = {one.file: one for results in self.parity for one in results.artefacts}
        judged = {Path(one.source).name: one for one in self.accuracy}
        references = {one.checkpoint: one for one in self.parity}
        rows = []
        seen = set()
        for results in self.latency:
            for info in results.targets:
                name = info.name if info.status == "measured" else f"{info.name} ({info.status})"
                cells = [name, info.precision or "-", megabytes(info.model_bytes)]
                own = {row.length: row for row in results.lengths if row.target == info.name}
                for length in lengths:
                    row = own.get(length)
                    cells.append(
                        f"{milliseconds(row.p50_s.median)} ({row.ratio.median:.2f})" if row else "-"
                    )
                if offline:
                    rates = [one for one in results.offline if one.target == info.name]
                    cells.append(significant(rates[0].realtime) if rates else "-")
                file = info.file if info.kind in _SAME_ENGINE else ""
                origin = None if file in seen else references.get(file)
                worth = _worth(compared.get(file), judged.get(file), origin)
                if worth[0] == "-" and origin is None and own:
                    worth[0] = _scientific(own[max(own)].difference)
                rows.append((*cells, *worth))
                seen.add(info.file)
        for file, one in compared.items():
            if file not in seen:
                cells = [one.name, one.precision or "-", megabytes(one.model_bytes)]
                cells += ["-"] * (len(lengths) + offline)
                rows.append((*cells, *_worth(one, judged.get(file), None)))
        columns = ["target", "precision", "MB", *(f"T = {length}, ms" for length in lengths)]
        columns += ["video-h per h"] if offline else []
        columns += ["max diff.", "segments changed", "mAP", "parity"]
        reference = next((one.lengths[0].target for one in self.latency if one.lengths), "")
        notes = [
            "max diff.: of cas or attention from PyTorch's, over max(1, max |cas|), on all videos; "
            "of targets that parity does not run, from the first target's on the longest video."
        ]
        if reference:
            notes.insert(0, f"In brackets: time over that of {reference}, turn by turn.")
        points = self.speed_and_accuracy()
        drawn = []
        if len(points) > 1:
            axis = "milliseconds for one video" if not offline else "hours of video per hour"
            if not offline and lengths:
                axis = f"milliseconds for a video of {lengths[-1]} snippets"
            svg = charts.to_svg(charts.speed_and_accuracy(points, axis, self._palette), "accuracy")
            caption = "Speed against accuracy, of the targets whose accuracy was judged."
            drawn.append((caption, svg))
        title = "What each target costs and is worth"
        table = Table(title, tuple(columns), tuple(rows), tuple(notes))
        return Section("Overview", tuple(drawn), (table,), tables_first=True)

    def speed_and_accuracy(self) -> list[tuple[str, float, float]]:
        """Return (target, speed, mAP in percent) of the targets whose mAP is known.

        speed: hours of video per hour if the offline scenario was measured, else milliseconds for
        one video of the longest length.
        """
        values = {Path(one.source).name: one.averages.get(MAP_RANGE) for one in self.accuracy}
        worth = {file: value * 100 for file, value in values.items() if value is not None}
        for results in self.parity:
            for one in results.artefacts:
                if one.accuracy is not None:
                    worth[one.file] = one.accuracy.artefact
                    worth[results.checkpoint] = one.accuracy.reference
        points = []
        offline = any(one.offline for one in self.latency)
        for measured in self.latency:
            speeds = {row.target: row.realtime for row in measured.offline}
            if not offline and measured.lengths:
                longest = max(row.length for row in measured.lengths)
                speeds = {
                    row.target: row.p50_s.median * 1e3
                    for row in measured.lengths
                    if row.length == longest
                }
            points += [
                (info.name, speeds[info.name], worth[info.file])
                for info in measured.targets
                if info.name in speeds and info.file in worth and info.kind in _SAME_ENGINE
            ]
        return points

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
        measured = [one for one in results.artefacts if one.margins is not None]
        drawn = []
        if measured:
            named = [
                (one.name, one.margins, one.overall.attention.max_abs)
                for one in measured
                if one.margins is not None and one.overall is not None
            ]
            svg = charts.to_svg(charts.margins(named, self._palette), "margins")
            drawn.append(("How near the decisions were to the thresholds.", svg))
        return Section("Parity", tuple(drawn), tuple(parity_tables(results)))


TITLE = "CO2-Net artefacts measured"


def _worth(
    one: ArtefactParity | None, judged: AccuracyResults | None, reference: ParityResults | None
) -> list[str]:
    cells = ["-"] * 4
    if one is not None and one.overall is not None and one.decisions is not None:
        cells[0] = _scientific(one.overall.max_ratio)
        cells[1] = f"{one.decisions.changed * 100:.2f} %"
    if one is not None and one.accuracy is not None:
        cells[2] = f"{one.accuracy.artefact:.2f} ({one.accuracy.difference:+.2f})"
    elif judged is not None and MAP_RANGE in judged.averages:
        cells[2] = f"{judged.averages[MAP_RANGE] * 100:.2f}"
    if one is not None:
        cells[3] = "failed" if one.failures or one.status == "failed" else "passed"
    if reference is not None:
        known = [found.accuracy for found in reference.artefacts if found.accuracy is not None]
        cells[2] = f"{known[0].reference:.2f}" if known else cells[2]
        cells[3] = "reference"
    return cells


def _scientific(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


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
