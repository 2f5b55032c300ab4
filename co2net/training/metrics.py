"""The metrics of a run, in metrics.jsonl and where its loggers show them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from co2net.training.best import headline_average
from co2net.training.loggers import Logger, open_loggers
from co2net.training.run_folder import RunFolder
from co2net.training.validation import DetectionScores, LabelScores
from co2net_runtime.errors import MissingDependencyError

NO_TENSORBOARD = (
    "TensorBoard events are not written: tensorboard is not installed (pip install "
    "'co2net[train]'); metrics.jsonl has everything"
)


class MetricsWriter:
    """Records a run from iteration `first` on; enter it to open the files.

    Args:
        run: Where to write; None, as in the processes that are not the main one, writes nothing.
        first: Events of a killed run from this iteration on are hidden.
        log_to: Loggers besides metrics.jsonl; without any, TensorBoard where it is installed.
        settings: What the loggers show as the run's settings.
    """

    def __init__(
        self,
        run: RunFolder | None,
        first: int,
        log_to: Sequence[str] = (),
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._run, self._first = run, first
        self._log_to, self._settings = log_to, settings
        self._loggers: list[Logger] = []
        self.notes: list[str] = []  # lines for the user about where it is recorded

    def __enter__(self) -> "MetricsWriter":
        if self._run is not None:
            names = self._log_to or ("tensorboard",)
            try:
                self._loggers = open_loggers(names, self._run, self._first, self._settings)
            except MissingDependencyError:
                if self._log_to:
                    raise
                self.notes.append(NO_TENSORBOARD)
            self.notes += [f"logging to {each.place}" for each in self._loggers if each.place]
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with ExitStack() as closing:
            for logger in self._loggers:
                closing.callback(logger.close, failed=kind is not None)

    def iteration(self, iteration: int, values: Mapping[str, float]) -> None:
        """Record an iteration: loss terms, learning rate, gradient norm, seconds."""
        if self._run is None:
            return
        self._run.log({"iteration": iteration, **values})
        self._scalars("train", values, iteration)

    def evaluation(
        self, iteration: int, detection: DetectionScores | None, labels: LabelScores | None
    ) -> None:
        """Record an evaluation."""
        if self._run is None:
            return
        record: dict[str, Any] = {"iteration": iteration, "evaluated": True}
        if detection is not None:
            record["detection"] = asdict(detection)
            averages = {f"mAP {name}": value for name, value in detection.averages.items()}
            self._scalars(detection.subset, averages, iteration)
            values = {"classification mAP": detection.classification_map}
            self._scalars(detection.subset, values, iteration)
        if labels is not None:
            record["holdout"] = asdict(labels)
            values = {"classification mAP": labels.classification_map, "loss": labels.loss}
            self._scalars("holdout", values, iteration)
        self._run.log(record)

    def _scalars(self, group: str, values: Mapping[str, float], iteration: int) -> None:
        named = {f"{group}/{name}": value for name, value in values.items()}
        for logger in self._loggers:
            logger.scalars(named, iteration)


def describe_scores(detection: DetectionScores | None, labels: LabelScores | None) -> str:
    """Return an evaluation in words, mAP in percent."""
    parts = []
    if detection is not None:
        name, value = headline_average(detection.averages)
        parts.append(
            f"{detection.subset}: mAP {name} {100 * value:.2f}, classification mAP "
            f"{100 * detection.classification_map:.2f}"
        )
    if labels is not None:
        parts.append(
            f"hold-out: classification mAP {100 * labels.classification_map:.2f}, loss "
            f"{labels.loss:.4f}"
        )
    return "; ".join(parts) or "nothing to evaluate"
