"""Results of runs: the last and the best evaluation of each, and their spread over seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from co2net.aligned import aligned
from co2net.config import Select
from co2net.training.best import SELECTIONS, headline_average
from co2net.training.run_folder import RunFolder
from co2net_runtime.errors import InputError


@dataclass(frozen=True)
class RunSummary:
    """The evaluations of one finished run, as its metrics hold them."""

    run: RunFolder
    seed: int
    select: Select  # how the best one was chosen
    last: dict[str, Any]  # the last evaluation
    best: dict[str, Any] | None  # the best one; None where the last is chosen

    @staticmethod
    def of(run: RunFolder, seed: int, select: Select, best: int | None) -> "RunSummary":
        """Read the metrics of a run that ended; `best` is the iteration of its best evaluation.

        Raises InputError if nothing was evaluated, because the run was stopped before.
        """
        evaluations = {
            record["iteration"]: record for record in run.read_metrics() if record.get("evaluated")
        }
        if not evaluations:
            raise InputError(
                f"{run.path}: stopped before any evaluation: pass --resume --set iterations=N with "
                "more iterations than it has done"
            )
        last = evaluations[max(evaluations)]
        return RunSummary(run, seed, select, last, evaluations.get(best) if best else None)

    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the last and, if there is one, the best evaluation, each with its name."""
        return [("last", self.last), *([(self.select, self.best)] if self.best else [])]


def to_document(summaries: Sequence[RunSummary]) -> dict[str, Any]:
    """Return the summaries as plain values for JSON, mAP as fractions of 1."""
    document: dict[str, Any] = {
        "runs": [
            {
                "folder": str(summary.run.path),
                "seed": summary.seed,
                "select": SELECTIONS[summary.select],
                **{("last" if name == "last" else "best"): row for name, row in summary.rows()},
            }
            for summary in summaries
        ]
    }
    if len(summaries) > 1:
        document["over_seeds"] = {
            name: dict(zip(("mean", "std"), _spread(rows), strict=True))
            for name, rows in _by_name(summaries).items()
        }
    return document


def to_table(summaries: Sequence[RunSummary]) -> str:
    """Return the summaries as text, in percent."""
    lines = [["seed", "checkpoint", "iteration", *_columns(summaries[0].last)]]
    for summary in summaries:
        for name, row in summary.rows():
            values = [f"{value:.2f}" for value in _columns(row).values()]
            lines.append([str(summary.seed), name, str(row["iteration"]), *values])
    if len(summaries) > 1:
        for name, rows in _by_name(summaries).items():
            mean, std = _spread(rows)
            values = [f"{mean[key]:.2f}±{std[key]:.2f}" for key in mean]
            lines.append(["mean±std", name, "", *values])
    select = summaries[0].select
    notes = [] if select == "last" else [f"{select}: {SELECTIONS[select]}"]
    if (detection := summaries[0].last.get("detection")) is not None:
        notes.insert(
            0,
            f"detection mAP in percent on {detection['subset']}, protocol {detection['protocol']}",
        )
    return "\n".join([*aligned(lines, left=2), *notes])


def _columns(row: dict[str, Any]) -> dict[str, float]:
    """Return an evaluation's values by column, in percent."""
    columns = {}
    if (detection := row.get("detection")) is not None:
        means = zip(detection["tious"], detection["map"], strict=True)
        columns = {f"@{tiou:g}": value for tiou, value in means}
        name, average = headline_average(detection["averages"])
        columns[f"avg {name}"] = average
        columns["cls mAP"] = detection["classification_map"]
    if (holdout := row.get("holdout")) is not None:
        columns["hold-out cls mAP"] = holdout["classification_map"]
    return {name: 100 * value for name, value in columns.items()}


def _by_name(summaries: Sequence[RunSummary]) -> dict[str, list[dict[str, float]]]:
    rows: dict[str, list[dict[str, float]]] = {}
    for summary in summaries:
        for name, row in summary.rows():
            rows.setdefault(name, []).append(_columns(row))
    return rows


def _spread(rows: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and sample standard deviation of each column."""
    values = {key: [row[key] for row in rows] for key in rows[0]}
    return (
        {key: statistics.fmean(column) for key, column in values.items()},
        {
            key: statistics.stdev(column) if len(column) > 1 else 0.0
            for key, column in values.items()
        },
    )
