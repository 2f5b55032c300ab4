"""Two runs compared, figure by figure: slower or larger than before? For a user's CI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.tables import Table, significant
from co2net_benchmarks.timing import Interval

Verdict = Literal["regressed", "improved", "same", "missing", "new"]

# (target, what was measured), in reading order
Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """One figure in both runs; None where a run lacks it."""

    target: str
    measure: str  # the figure and its unit
    old: float | None
    new: float | None
    change: float | None  # worsening as a share of the old; negative is better
    verdict: Verdict
    # whether their intervals overlap, so that the difference may be nothing but the spread; None
    # for figures without intervals
    overlap: bool | None = None


@dataclass(frozen=True)
class _Figure:
    value: float
    more_is_better: bool = False
    interval: Interval | None = None


def compare_runs(
    old: Sequence[LatencyResults],
    new: Sequence[LatencyResults],
    fail_over: float,
    *,
    relative: bool = False,
) -> tuple[Change, ...]:
    """Compare two latency runs; return all figures of both, those of the old run first.

    Args:
        old: Results of the earlier run.
        new: Results of the later one.
        fail_over: Share by which a figure may get worse.
        relative: Compare times as ratios to each run's reference target instead of seconds,
            which survives another or a noisy machine; memory and size stay as they are.
    """
    before, after = _figures(old, relative=relative), _figures(new, relative=relative)
    return tuple(
        _change(key, before.get(key), after.get(key), fail_over)
        for key in dict.fromkeys((*before, *after))
    )


def comparison_table(changes: Sequence[Change], fail_over: float) -> Table:
    """Return the changes as a table."""
    rows = tuple(
        (
            change.target,
            change.measure,
            "-" if change.old is None else significant(change.old),
            "-" if change.new is None else significant(change.new),
            "-" if change.change is None else f"{change.change * 100:+.1f} %",
            {True: "overlap", False: "apart", None: "-"}[change.overlap],
            change.verdict,
        )
        for change in changes
    )
    note = (
        f"Positive is worse; regressed: worse by more than {fail_over * 100:g} %. Where the 95 % "
        "intervals overlap, the difference may be nothing but the spread."
    )
    columns = ("target", "figure", "old", "new", "worse by", "intervals", "")
    return Table("Old against new", columns, rows, explanations=(note,))


def _figures(runs: Sequence[LatencyResults], *, relative: bool) -> Mapping[Key, _Figure]:
    figures: dict[Key, _Figure] = {}
    for run in runs:
        for row in run.lengths:
            what = f"{row.length} snippets, " + ("ratio" if relative else "p50 ms")
            figures[row.target, what] = (
                _of_interval(row.ratio) if relative else _of_interval(row.p50_s, 1e3)
            )
            if row.peak_rss_bytes:
                what = f"{row.length} snippets, peak MB"
                figures[row.target, what] = _Figure(row.peak_rss_bytes / 1e6)
        for offline in run.offline:
            if relative:
                figures[offline.target, "offline, ratio"] = _of_interval(offline.ratio)
            else:
                rate = _of_interval(offline.snippets_per_s)
                figures[offline.target, "offline, snippets/s"] = replace(rate, more_is_better=True)
        if not relative:
            for start in run.cold_starts:
                figures[start.target, "cold start, ms"] = _Figure(start.total_s.p50_s * 1e3)
        for info in run.targets:
            if info.status == "measured":
                figures[info.name, "model MB"] = _Figure(info.model_bytes / 1e6)
    return figures


def _change(key: Key, old: _Figure | None, new: _Figure | None, fail_over: float) -> Change:
    target, measure = key
    if old is None or new is None:
        verdict: Verdict = "new" if old is None else "missing"
        values = (old.value if old else None, new.value if new else None)
        return Change(target, measure, *values, None, verdict)
    change = _worse_by(old, new)
    verdict = "regressed" if change > fail_over else "improved" if -change > fail_over else "same"
    return Change(
        target, measure, old.value, new.value, change, verdict, _overlap(old.interval, new.interval)
    )


def _of_interval(interval: Interval, factor: float = 1.0) -> _Figure:
    return _Figure(interval.median * factor, interval=interval)


def _overlap(old: Interval | None, new: Interval | None) -> bool | None:
    if old is None or new is None:
        return None
    return old.low <= new.high and new.low <= old.high


def _worse_by(old: _Figure, new: _Figure) -> float:
    worse = old.value - new.value if old.more_is_better else new.value - old.value
    if worse == 0:
        return 0.0
    return worse / old.value if old.value else float("inf") * (1 if worse > 0 else -1)
