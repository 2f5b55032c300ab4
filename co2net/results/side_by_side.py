"""Training runs side by side: the settings that differ, and their evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from co2net.config import TrainConfig
from co2net.settings import differences, read_config
from co2net.training.run_folder import RunFolder, check_evaluation
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import read_json

LOSS_WINDOW = 50


@dataclass(frozen=True)
class TrainingRun:
    """One run folder of co2net-train, finished or not."""

    name: str  # its folder, as it was given
    config: TrainConfig
    iterations: int  # done so far
    loss: float | None  # mean of the total over the last 50 iterations
    last: Mapping[str, Any] | None  # the metrics' line of the last evaluation
    best: Mapping[str, Any] | None  # of the chosen one; None where the last is, or none is yet


def read_training_run(path: Path) -> TrainingRun:
    """Read a run folder.

    Raises:
        InputError: It is not a run folder of co2net-train, or a file in it is damaged.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        below = sorted(file.parent.name for file in path.glob(f"*/{folder.config.name}"))
        hint = f": its runs are {', '.join(below)}" if below else ""
        raise InputError(f"{path}: not a run of co2net-train (no {folder.config.name}){hint}")
    records = folder.read_metrics()
    try:
        losses = [float(one["total"]) for one in records if one.get("total") is not None]
        evaluations = [one for one in records if one.get("evaluated")]
        iterations = max((int(one["iteration"]) for one in records), default=0)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder.metrics}: damaged: expected a record in each line") from error
    recent = losses[-LOSS_WINDOW:]
    return TrainingRun(
        name=str(path),
        config=read_config(folder.config, TrainConfig()),
        iterations=iterations,
        loss=sum(recent) / len(recent) if recent else None,
        last=evaluations[-1] if evaluations else None,
        best=_best(folder),
    )


def side_by_side(runs: Sequence[TrainingRun]) -> list[tuple[str, ...]]:
    """Return rows of a name and a cell per run: settings that differ, then figures, mAP in %."""
    settings: dict[str, None] = {}
    for run in runs:
        settings |= dict.fromkeys(differences(runs[0].config, run.config))
    rows = [(key, *(_value(run.config, key) for run in runs)) for key in settings]
    rows.append(("iterations done", *(str(run.iterations) for run in runs)))
    losses = ("-" if run.loss is None else f"{run.loss:.3f}" for run in runs)
    rows.append((f"loss, last {LOSS_WINDOW}", *losses))
    for name in ("last", "best"):
        found = [getattr(run, name) for run in runs]
        if any(found):
            rows += _figures(name, found)
    return rows


def _best(folder: RunFolder) -> Mapping[str, Any] | None:
    """Return the evaluation that the run chose; its summary is written when it ends."""
    if not folder.summary.is_file():
        return None
    document = read_json(folder.summary, "the summary")
    try:
        best: Mapping[str, Any] | None = document["runs"][0].get("best")
        if best is not None:
            check_evaluation(best)
            int(best["iteration"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{folder.summary}: damaged: expected a summary of co2net-train"
        ) from error
    return best


def _figures(name: str, found: Sequence[Mapping[str, Any] | None]) -> list[tuple[str, ...]]:
    """Return the rows of one evaluation per run."""
    columns = [_measures(one) for one in found]
    measures = dict.fromkeys(key for column in columns for key in column)
    return [
        (f"{name}: {measure}", *(column.get(measure, "-") for column in columns))
        for measure in measures
    ]


def _measures(evaluation: Mapping[str, Any] | None) -> dict[str, str]:
    if evaluation is None:
        return {}
    measures = {"iteration": str(evaluation["iteration"])}
    detection, holdout = evaluation.get("detection"), evaluation.get("holdout")
    if detection is not None:
        measures |= {
            f"mAP {'mean' if span == 'all' else span}": _percent(value)
            for span, value in detection["averages"].items()
        }
        measures["classification mAP"] = _percent(detection["classification_map"])
    if holdout is not None:
        measures["hold-out classification mAP"] = _percent(holdout["classification_map"])
    return measures


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _value(config: TrainConfig, key: str) -> str:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return "-" if value is None else str(value)
