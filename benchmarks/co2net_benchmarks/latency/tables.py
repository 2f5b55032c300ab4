"""Latency results as tables."""

from collections.abc import Mapping, Sequence

from co2net_benchmarks.latency.offline import OfflineResult
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.latency.single_stream import ColdStart
from co2net_benchmarks.runners.runner import RunnerInfo
from co2net_benchmarks.tables import Table, megabytes, milliseconds, percent, significant
from co2net_benchmarks.timing import PERCENTILE_DEFINITION, Interval, required_samples
from co2net_runtime.files.text import number_of

PERCENTILE_NOTE = (
    f"Percentiles are by {PERCENTILE_DEFINITION}; p90 and p99 are shown from "
    f"{required_samples(90)} and {required_samples(99)} samples on. CoV marked * exceeds 2.5 %: "
    "the clock or the machine moved."
)


def latency_tables(results: LatencyResults) -> list[Table]:
    """Return all tables of a latency run, in reading order."""
    infos = {info.name: info for info in results.targets}
    lengths = sorted({row.length for row in results.lengths})
    tables = [_target_table(results)]
    tables += [_length_table(results, infos, length) for length in lengths]
    if results.cold_starts:
        tables.append(_cold_table(results.cold_starts))
    if results.offline:
        tables.append(_offline_table(results.offline))
    return tables


def _target_table(results: LatencyResults) -> Table:
    rows = tuple(
        (
            info.name,
            info.engine or f"{info.kind}: {info.reason}",
            info.precision or "-",
            megabytes(info.model_bytes),
        )
        for info in results.targets
    )
    notes = tuple(
        f"{info.name}: {info.status}: {info.reason}"
        for info in results.targets
        if info.status == "failed" and info.engine
    )
    return Table("Targets", ("target", "engine", "precision", "MB"), rows, notes, left=3)


def _length_table(results: LatencyResults, infos: Mapping[str, RunnerInfo], length: int) -> Table:
    rows = [row for row in results.lengths if row.length == length]
    reference = rows[0].target
    on_device = any("device" in row.stages for row in rows)
    peak = results.gemm_peak
    body = []
    for row in rows:
        total = row.stages["total"]
        cells = [
            row.target,
            milliseconds(row.p50_s.median),
            f"{milliseconds(row.p50_s.low)}..{milliseconds(row.p50_s.high)}",
            milliseconds(total.p90_s),
            milliseconds(total.p99_s),
            "-" if total.cov is None else percent(total.cov) + ("*" if total.unsteady else ""),
            "1" if row.target == reference else _ratio(row.ratio),
            *(milliseconds(row.stages[stage].p50_s) for stage in ("read", "network", "decode")),
        ]
        if on_device:
            device = row.stages.get("device")
            cells.append(milliseconds(device.p50_s if device else None))
        flops = row.flops(infos[row.target].macs_per_snippet)
        cells += [
            "-" if flops is None else significant(flops / 1e9),
            percent(flops / peak if flops and peak else None),
            "-" if row.difference is None else f"{row.difference:.1e}",
            str(row.segments),
            megabytes(row.peak_rss_bytes),
        ]
        body.append(tuple(cells))
    columns = ["target", "p50", "95 % of p50", "p90", "p99", "CoV", "ratio", "read", "network"]
    columns += ["decode", *(["device"] if on_device else []), "GFLOP/s", "of GEMM", "max diff."]
    columns += ["segments", "peak MB"]
    runs = number_of(rows[0].stages["total"].count, "run")
    samples = f"{runs} in {number_of(len(rows[0].turns_s), 'turn')}"
    video_s = length * results.snippet_s
    title = f"One video of {length} snippets ({significant(video_s)} s), milliseconds, {samples}"
    note = (
        f"ratio: time over that of {reference}, turn by turn, with its 95 % interval. max diff.: "
        "of cas or attention from the reference's, over max(1, max |cas|)."
    )
    return Table(title, tuple(columns), tuple(body), explanations=(note,))


def _ratio(ratio: Interval) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"


def _cold_table(starts: Sequence[ColdStart]) -> Table:
    rows = tuple(
        (
            start.target,
            *(
                milliseconds(value)
                for value in (start.process_s, start.import_s, start.load_s, start.first_s)
            ),
            milliseconds(start.total_s.p50_s),
            f"{milliseconds(start.total_s.min_s)}..{milliseconds(start.total_s.max_s)}",
            megabytes(start.peak_rss_bytes),
        )
        for start in starts
    )
    return Table(
        f"Cold start to the first result, one video of {starts[0].length} snippets, milliseconds, "
        f"{starts[0].total_s.count} fresh processes, medians",
        ("target", "process", "import", "load", "first", "total", "min..max", "peak MB"),
        rows,
        explanations=(
            "The model files lie in the system's cache. The runtime imports its engine as it opens "
            "the model: load.",
        ),
    )


def _offline_table(rows: Sequence[OfflineResult]) -> Table:
    reference, first = rows[0].target, rows[0]
    body = tuple(
        (
            row.target,
            significant(row.snippets_per_s.median),
            f"{significant(row.snippets_per_s.low)}..{significant(row.snippets_per_s.high)}",
            significant(row.realtime),
            "1" if row.target == reference else _ratio(row.ratio),
            significant(row.wall_s),
            str(row.segments),
            megabytes(row.peak_rss_bytes),
        )
        for row in rows
    )
    columns = ("target", "snippets/s", "95 %", "video-h per h", "ratio", "seconds", "segments",
               "peak MB")  # fmt: skip
    ratio = f"ratio: time over that of {reference}, turn by turn, with its 95 % interval."
    title = f"Offline: {number_of(first.videos, 'video')}, {number_of(first.snippets, 'snippet')}"
    return Table(title, columns, body, explanations=(ratio,))
