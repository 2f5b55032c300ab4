"""The metrics of a run, in metrics.jsonl and TensorBoard's event files."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from co2net.training.best import headline_average
from co2net.training.run_folder import RunFolder
from co2net.training.validation import DetectionScores, LabelScores
from co2net_runtime.errors import InputError

NO_TENSORBOARD = (
    "TensorBoard events are not written: tensorboard is not installed (pip install "
    "'co2net[train]'); metrics.jsonl has everything"
)


class MetricsWriter:
    """Records a run from iteration `first` on; enter it to open the files.

    Args:
        run: Where to write; None, as in the processes that are not the main one, writes nothing.
        first: Events of a killed run from this iteration on are hidden.
    """

    def __init__(self, run: RunFolder | None, first: int) -> None:
        self._run, self._first = run, first
        self._events: Any = None
        self.note: str | None = None  # a line for the user about what is not recorded

    def __enter__(self) -> "MetricsWriter":
        if self._run is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self.note = NO_TENSORBOARD
            else:
                self._events = SummaryWriter(str(self._run.tensorboard), purge_step=self._first)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._events is None:
            return
        try:
            self._events.close()
        except OSError as error:
            if kind is None:  # else the same full disk has been reported
                raise self._failed(error) from error

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
        if self._events is None:
            return
        try:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, iteration)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> InputError:
        assert self._run is not None
        return InputError(f"{self._run.tensorboard}: cannot write it: {error.strerror or error}")


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
