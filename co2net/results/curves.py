"""A picture of a run: the loss terms and the evaluations over the iterations."""

from pathlib import Path
from typing import Any

import numpy as np

from co2net.training.best import headline_average
from co2net.training.run_folder import RunFolder
from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.files.atomic import atomic_path

# losses of single batches are noisy: drawn pale under their running mean
SMOOTHED = 50


def require_matplotlib() -> None:
    """Raise MissingDependencyError, before long work, if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401  # asks whether it is there
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "drawing curves") from error


def draw_curves(run: RunFolder) -> Path:
    """Write curves.png from the run's metrics and return its path."""
    from matplotlib.figure import Figure

    records = run.read_metrics()
    trained = [record for record in records if "total" in record]
    figure = Figure(figsize=(12, 7), layout="constrained")
    losses, speed, detection, labels = figure.subplots(2, 2, sharex=True).flat
    skip = {"iteration", "learning_rate", "grad_norm", "seconds", "data_seconds"}
    for name in [name for name in (trained[0] if trained else {}) if name not in skip]:
        _draw_series(losses, trained, name)
    losses.set(title="loss terms", ylabel="loss")
    for name in ("seconds", "data_seconds"):
        _draw_series(speed, trained, name)
    speed.set(title="time per iteration", ylabel="s", yscale="log")
    _draw_detection(detection, [record for record in records if "detection" in record])
    _draw_labels(labels, records)
    for axes in (losses, speed, detection, labels):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", ncols=2)
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
    figure.suptitle(run.path.name)
    with atomic_path(run.curves) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return run.curves


def _draw_series(axes: Any, records: list[dict[str, Any]], name: str) -> None:
    x = np.array([record["iteration"] for record in records])
    y = np.array([record[name] for record in records], dtype=np.float64)
    window = max(1, min(SMOOTHED, len(y) // 5))
    mean = np.convolve(y, np.full(window, 1 / window), mode="valid")
    (drawn,) = axes.plot(x[window - 1 :], mean, label=name)
    axes.plot(x, y, color=drawn.get_color(), alpha=0.15, linewidth=0.7)


def _draw_detection(axes: Any, records: list[dict[str, Any]]) -> None:
    axes.set(title="detection mAP", ylabel="%")
    if not records:
        return
    x = [record["iteration"] for record in records]
    means = np.array([record["detection"]["map"] for record in records], dtype=np.float64)
    for column, tiou in enumerate(records[0]["detection"]["tious"]):
        axes.plot(x, 100 * means[:, column], linewidth=0.8, label=f"tIoU {tiou:g}")
    name, _ = headline_average(records[0]["detection"]["averages"])
    averages = [100 * record["detection"]["averages"][name] for record in records]
    axes.plot(x, averages, "k.-", label=f"average {name}")
    axes.set_title(f"detection mAP on {records[0]['detection']['subset']}")


def _draw_labels(axes: Any, records: list[dict[str, Any]]) -> None:
    axes.set(title="classification mAP", ylabel="%")
    for key, style in (("detection", ".-"), ("holdout", ".--")):
        found = [record for record in records if key in record]
        if found:
            label = found[0][key].get("subset", "hold-out")
            values = [100 * record[key]["classification_map"] for record in found]
            axes.plot([r["iteration"] for r in found], values, style, label=label)
