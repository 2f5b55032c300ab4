"""Metrics of a run, into metrics.jsonl and TensorBoard's event files."""

from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

from co2net.training.best import headline
from co2net.training.run_folder import RunFolder
from co2net.training.validation import DetectionScores, LabelScores

NO_TENSORBOARD = (
    "TensorBoard events are not written: tensorboard is not installed (pip install "
    "'co2net[train]'); metrics.jsonl has everything"
)


class Recorder:
    """Writes what happens in a run from iteration `first` on; enter it to open the files.

    note: what is not recorded, in words, or None. Nothing is written if `run` is None, as in the
    processes that do not lead.
    """

    def __init__(self, run: RunFolder | None, first: int) -> None:
        self._run, self._first = run, first
        self._events: Any = None
        self.note: str | None = None

    def __enter__(self) -> "Recorder":
        if self._run is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self.note = NO_TENSORBOARD
            else:
                # what a killed run wrote after its last checkpoint is not to be seen
                self._events = SummaryWriter(str(self._run.tensorboard), purge_step=self._first)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._events is not None:
            self._events.close()

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
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, iteration)


def describe_scores(detection: DetectionScores | None, labels: LabelScores | None) -> str:
    """Return an evaluation in words, mAP in percent."""
    parts = []
    if detection is not None:
        name, value = headline(detection.averages)
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
