"""The overview of a report: what each target costs, and what its results are worth."""

from collections.abc import Sequence
from pathlib import Path

from co2net_benchmarks.accuracy.results import AccuracyResults
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.parity.results import ArtefactParity, ParityResults
from co2net_benchmarks.runners.runner import RunnerInfo
from co2net_benchmarks.tables import Table, megabytes, milliseconds, significant

MAP_RANGE = "0.1:0.7"
# what parity and accuracy say of a file holds where the same engine runs it
_SAME_ENGINE = ("runtime", "torch")


class Overview:
    """The results of all runs, brought together by target."""

    def __init__(
        self,
        latency: Sequence[LatencyResults],
        parity: Sequence[ParityResults],
        accuracy: Sequence[AccuracyResults],
    ) -> None:
        """Find out what was measured of which file."""
        self._latency = latency
        self._compared = {one.file: one for results in parity for one in results.artefacts}
        self._judged = {Path(one.source).name: one for one in accuracy}
        self._references = {one.checkpoint: one for one in parity}
        self._lengths = sorted({row.length for one in latency for row in one.lengths})
        self._offline = any(one.offline for one in latency)

    def table(self) -> Table:
        """Return one row per target: speed, difference from PyTorch, mAP."""
        rows: list[tuple[str, ...]] = []
        seen: set[str] = set()
        for results in self._latency:
            for info in results.targets:
                rows.append((*self._cost(results, info), *self._worth(results, info, seen)))
                seen.add(info.file)
        for file, one in self._compared.items():
            if file not in seen:
                cells = [one.name, one.precision or "-", megabytes(one.model_bytes)]
                cells += ["-"] * (len(self._lengths) + self._offline)
                rows.append((*cells, *_worth(one, self._judged.get(file), None)))
        columns = ["target", "precision", "MB", *(f"T = {length}, ms" for length in self._lengths)]
        columns += ["video-h per h"] if self._offline else []
        columns += ["max diff.", "segments changed", "mAP", "parity"]
        reference = next((one.lengths[0].target for one in self._latency if one.lengths), "")
        notes = [
            "max diff.: of cas or attention from PyTorch's, over max(1, max |cas|), on all videos; "
            "of targets that parity does not run, from the first target's on the longest video."
        ]
        if reference:
            notes.insert(0, f"In brackets: time over that of {reference}, turn by turn.")
        title = "What each target costs and is worth"
        return Table(title, tuple(columns), tuple(rows), tuple(notes))

    @property
    def speed_axis(self) -> str:
        """The unit of the speeds of `speed_and_accuracy`."""
        if self._offline:
            return "hours of video per hour"
        return "milliseconds for " + (
            f"a video of {self._lengths[-1]} snippets" if self._lengths else "one video"
        )

    def speed_and_accuracy(self) -> list[tuple[str, float, float]]:
        """Return (target, speed, mAP in percent) of the targets whose mAP is known.

        speed: hours of video per hour if the offline scenario was measured, else milliseconds for
        one video of the longest length.
        """
        values = {file: one.averages.get(MAP_RANGE) for file, one in self._judged.items()}
        worth = {file: value * 100 for file, value in values.items() if value is not None}
        for checkpoint, results in self._references.items():
            for one in results.artefacts:
                if one.accuracy is not None:
                    worth[one.file] = one.accuracy.artefact
                    worth[checkpoint] = one.accuracy.reference
        points = []
        for measured in self._latency:
            speeds = {row.target: row.realtime for row in measured.offline}
            if not self._offline:
                longest = max((row.length for row in measured.lengths), default=0)
                rows = [row for row in measured.lengths if row.length == longest]
                speeds = {row.target: row.p50_s.median * 1e3 for row in rows}
            points += [
                (info.name, speeds[info.name], worth[info.file])
                for info in measured.targets
                if info.name in speeds and info.file in worth and info.kind in _SAME_ENGINE
            ]
        return points

    def _cost(self, results: LatencyResults, info: RunnerInfo) -> list[str]:
        name = info.name if info.status == "measured" else f"{info.name} ({info.status})"
        cells = [name, info.precision or "-", megabytes(info.model_bytes)]
        own = {row.length: row for row in results.lengths if row.target == info.name}
        for length in self._lengths:
            row = own.get(length)
            cells.append(
                f"{milliseconds(row.p50_s.median)} ({row.ratio.median:.2f})" if row else "-"
            )
        if self._offline:
            rates = [one for one in results.offline if one.target == info.name]
            cells.append(significant(rates[0].realtime) if rates else "-")
        return cells

    def _worth(self, results: LatencyResults, info: RunnerInfo, seen: set[str]) -> list[str]:
        file = info.file if info.kind in _SAME_ENGINE else ""
        origin = None if file in seen else self._references.get(file)
        cells = _worth(self._compared.get(file), self._judged.get(file), origin)
        own = {row.length: row for row in results.lengths if row.target == info.name}
        if cells[0] == "-" and origin is None and own:
            cells[0] = _scientific(own[max(own)].difference)
        return cells


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
