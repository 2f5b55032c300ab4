"""Accuracy as tables for people: AP and mAP in percent, their differences in points."""

from collections.abc import Mapping, Sequence
from typing import cast

from co2net.evaluation.error_analysis import ErrorAnalysis
from co2net.evaluation.mean_ap import EvaluationOptions, Protocol
from co2net_benchmarks.accuracy.comparison import Comparison, Segment
from co2net_benchmarks.accuracy.judge import Missing
from co2net_benchmarks.accuracy.protocols import used_by
from co2net_benchmarks.accuracy.results import AccuracyResults
from co2net_benchmarks.tables import Table
from co2net_runtime.files.text import number_of

_LISTED = 10
_MISSING: Mapping[Missing, str] = {"missed": "all missed", "left-out": "left out"}


def accuracy_tables(results: AccuracyResults, *, per_class: bool = False) -> list[Table]:
    """Return the tables of everything that was measured; per_class: also those of each class."""
    tables = [_map_table(results)]
    if results.recall:
        tables.append(_recall_table(results))
    if per_class:
        tables.append(_class_table(results))
    for analysis in results.analysis:
        tables += [_error_table(analysis), _length_table(analysis)]
    if results.comparison is not None:
        tables.append(_change_table(results.comparison, per_class=per_class))
        tables += _segment_tables(results.comparison)
    return tables


def _map_table(results: AccuracyResults) -> Table:
    """Return the mAP per threshold with its averages, and the counts behind it."""
    measured = sum(each.ap is not None for each in results.classes)
    options = EvaluationOptions(cast(Protocol, results.protocol), results.tious)
    notes = [
        f"{_many(results.predictions, 'prediction')}, {_many(results.instances, 'instance')} of "
        f"{measured} of {_many(len(results.classes), 'class')} in {_many(results.videos, 'video')}"
    ]
    if results.without_predictions:
        count = len(results.without_predictions)
        notes.append(f"{_many(count, 'video')} without predictions: {_MISSING[results.missing]}")
    if results.ambiguous:
        notes.append(
            f"{results.ambiguous:,} more predictions overlap ambiguous intervals and do not count"
        )
    if results.engine is not None:
        notes.append(results.engine)
    if results.classification_map is not None:
        notes.append(f"video classification mAP {_percent(results.classification_map)} %")
    notes.append(f"same setting as: {used_by(options)}")
    title = f"{results.source}: mAP in % ({results.subset}, protocol {results.protocol})"
    return Table(
        title,
        _map_columns("tIoU", results.tious, results.averages),
        (("mAP", *map(_percent, [*results.map, *results.averages.values()])),),
        tuple(notes),
    )


def _recall_table(results: AccuracyResults) -> Table:
    """Return the recall at each k per threshold."""
    return Table(
        f"{results.source}: recall@k in %",
        ("k", *map(_tiou, results.tious), "mean"),
        tuple(
            (str(each.k), *map(_percent, each.recall), _percent(_mean(each.recall)))
            for each in results.recall
        ),
        explanations=(
            "recall@k: share of the instances that one of the k best segments of their video and "
            "class reaches at the tIoU",
        ),
    )


def _class_table(results: AccuracyResults) -> Table:
    """Return the AP per class and threshold, and each class's mean over the thresholds."""
    rows = []
    for each in results.classes:
        values = ["-"] * (len(results.tious) + 1)
        if each.ap is not None:
            values = [*map(_percent, each.ap), _percent(_mean(each.ap))]
        rows.append((each.name, f"{each.instances:,}", f"{each.predictions:,}", *values))
    columns = ("class", "instances", "predictions", *map(_tiou, results.tious), "mean")
    return Table(f"{results.source}: AP in %", columns, tuple(rows))


def _error_table(analysis: ErrorAnalysis) -> Table:
    """Return the types of predictions and what each costs."""
    costs = {cost.type: (_percent(cost.map_without), _points(cost.gain)) for cost in analysis.costs}
    rows = [
        (each.type, f"{each.total:,}", f"{each.top:,}", *costs.get(each.type, ("", "")))
        for each in analysis.predictions
    ]
    missed = sum(each.missed for each in analysis.lengths)
    rows.append((f"missed: {_many(missed, 'instance')}", "", "", *costs["missed"]))
    return Table(
        f"errors at tIoU {_tiou(analysis.tiou)}, mAP {_percent(analysis.map)} %",
        ("type", "predictions", "in top G", "mAP without", "gain"),
        tuple(rows),
        explanations=(
            "top G: the G best predictions of each class that has G instances",
            "wrong label: reaches the threshold with another class; localization and confusion: "
            "overlap less, with the same and with another class",
        ),
    )


def _length_table(analysis: ErrorAnalysis) -> Table:
    """Return the missed instances by their length."""
    rows = [
        (
            f"{each.name} ({_seconds(each.above_s, each.up_to_s)})",
            f"{each.instances:,}",
            f"{each.missed:,}",
            _percent(each.missed / each.instances) if each.instances else "-",
        )
        for each in analysis.lengths
    ]
    title = f"instances missed at tIoU {_tiou(analysis.tiou)}"
    return Table(title, ("length", "instances", "missed", "in %"), tuple(rows))


def _change_table(change: Comparison, *, per_class: bool = False) -> Table:
    """Return the differences in mAP, with per_class also in AP."""
    rows = [("mAP", *map(_points, [*change.map, *change.averages.values()]))]
    if per_class:
        rows += [
            (
                each.name,
                *map(_points, each.ap),
                *("" for name in change.averages if name != "all"),
                _points(_mean(each.ap)),
            )
            for each in change.classes
        ]
    return Table(
        f"change from {change.baseline}, in points",
        _map_columns("tIoU", change.tious, change.averages),
        tuple(rows),
    )


def _segment_tables(change: Comparison) -> list[Table]:
    """Return how many segments and instances were lost and gained, and the first of each."""
    segments, tiou = change.segments, _tiou(change.tiou)
    counts = (
        ("segments", segments.kept, segments.lost, segments.gained),
        ("instances", None, change.instances_lost, change.instances_gained),
    )
    tables = [
        Table(
            f"change from {change.baseline}, matched at tIoU {tiou}",
            ("", "kept", "lost", "gained"),
            tuple(
                (name, "" if kept is None else f"{kept:,}", f"{len(lost):,}", f"{len(gained):,}")
                for name, kept, lost, gained in counts
            ),
            explanations=(
                "segments: those that score at least 0.1 of their video's best",
                "instances: annotated ones that any prediction found",
            ),
        )
    ]
    for name, _, lost, gained in counts:
        tables += [_listing(f"{name} lost", lost), _listing(f"{name} gained", gained)]
    return [table for table in tables if table.rows]


def _listing(name: str, segments: Sequence[Segment]) -> Table:
    ranked = sorted(segments, key=lambda each: -(each.score or 0.0))
    rows = [
        (
            each.video,
            each.label,
            f"{each.start_s:.2f}",
            f"{each.end_s:.2f}",
            "" if each.score is None else f"{each.score:.3f}",
        )
        for each in ranked[:_LISTED]
    ]
    more = len(segments) - len(rows)
    notes = (f"and {more:,} more; --json lists all",) if more else ()
    return Table(name, ("video", "class", "from s", "to s", "score"), tuple(rows), notes)


def _map_columns(
    first: str, tious: Sequence[float], averages: Mapping[str, float]
) -> tuple[str, ...]:
    return (first, *map(_tiou, tious), *("mean" if name == "all" else name for name in averages))


def _seconds(above_s: float, up_to_s: float | None) -> str:
    return f"over {above_s:g} s" if up_to_s is None else f"{above_s:g} to {up_to_s:g} s"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _tiou(value: float) -> str:
    return f"{value:.2f}".removesuffix("0")


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _many(count: int, noun: str) -> str:
    """Return a count with its noun and commas between thousands."""
    return number_of(count, noun).replace(str(count), f"{count:,}", 1)
