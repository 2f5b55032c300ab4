"""Runs a Localizer over feature files into result files and pictures, to the end or to Ctrl-C."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.cli import console
from co2net_runtime.decoding.proposals import class_probabilities
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile
from co2net_runtime.files.records import to_mapping
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.network import Activations
from co2net_runtime.network.pipeline import Outcome, run_files
from co2net_runtime.output.formats import Records
from co2net_runtime.output.pictures import Pictures
from co2net_runtime.output.sinks import Sink
from co2net_runtime.version import VERSION
from co2net_runtime.watching.metrics import Metrics

# people are shown segments that score at least this share of the video's best
OPERATING_POINT = 0.1


@dataclass(frozen=True)
class Choice:
    """The part of each video's decoded list that is written and drawn."""

    min_score: float | None = None  # leave out lower scores; None: keep all
    top_k: int | None = None  # the best of each video; None: all
    classes_only: bool = False  # class probabilities of the whole video, without segments
    best: bool = False  # of each component and class the best segment only

    @property
    def shown_share(self) -> float:
        """The share of the best score from which people are shown segments; 0 if they chose."""
        return OPERATING_POINT if self.min_score is None and self.top_k is None else 0.0

    def written(self, contract: Contract, activations: Activations, found: Detections) -> Records:
        """Return the records that result files hold of one video."""
        if not self.classes_only:
            return self._chosen(found).to_records()
        cas, attention = activations.cas, activations.attention
        scores = class_probabilities(cas, attention, contract.decode).tolist()
        ranked = sorted(zip(scores, contract.classes, strict=True), key=lambda one: -one[0])
        kept = [one for one in ranked if self.min_score is None or one[0] >= self.min_score]
        return [{"label": label, "score": score} for score, label in kept[: self.top_k]]

    def shown(self, found: Detections) -> Detections:
        """Return the segments that pictures show of one video."""
        chosen = self._chosen(found)
        return chosen.at_operating_point(self.shown_share) if self.shown_share else chosen

    def _chosen(self, found: Detections) -> Detections:
        if self.best:
            found = found.best_per_component()
        return found.best(self.min_score, self.top_k)


def describe(
    model: Path, model_sha256: str, localizer: Localizer, choice: Choice
) -> dict[str, Any]:
    """Return the origin of the results: model, engine and options."""
    contract, engine = localizer.contract, localizer.network.options
    run: dict[str, Any] = {"threads": engine.threads}
    if localizer.network.cpu_form is not None:
        run["cpu_form"] = localizer.network.cpu_form
    return {
        "model": model.name,
        "model_sha256": model_sha256,
        "checkpoint_sha256": contract.checkpoint_sha256,
        "precision": contract.precision,
        "engine": to_mapping(localizer.engine),
        "options": {**to_mapping(contract.decode), **to_mapping(choice), **run},
        "co2net": VERSION,
    }


class Job:
    """One run over many files, and its outcome.

    Attributes:
        done: Videos localized.
        skipped: Videos with results of an earlier run.
        records: Segments or classes written.
        failures: A line for each file that failed.
        interrupted: Whether files are left because of a signal.
    """

    def __init__(
        self,
        localizer: Localizer,
        sinks: Sequence[Sink],
        choice: Choice,
        pictures: Pictures | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Prepare; no file is read yet."""
        self.choice = choice
        self.done = self.skipped = self.records = 0
        self.failures: list[str] = []
        self.interrupted = False
        self._localizer = localizer
        self._sinks = sinks
        self._pictures = pictures
        self._metrics = metrics
        self._video_s = 0.0

    def run(
        self,
        files: Sequence[FeatureFile],
        batch: int | None = None,
        *,
        skip_existing: bool = False,
        quiet: bool = False,
    ) -> None:
        """Localize the files that are not done yet; write the results, even if interrupted."""
        if skip_existing:
            videos = [file.video for file in files]
            there = set.intersection(*(sink.existing(videos) for sink in self._sinks))
            del videos
            self.skipped = len(there)
            files = [file for file in files if file.video not in there]
        outcomes = run_files(self._localizer.network, files, size=batch, watch=self._time)
        with (
            console.finish_on_interrupt() as interruption,
            console.progress(outcomes, "localizing", length=len(files), quiet=quiet) as shown,
        ):
            for outcome in shown:
                self._take(outcome)
                self._watch()
                if interruption.is_set():
                    self.interrupted = self.done + len(self.failures) < len(files)
                    break
            outcomes.close()  # stops reading ahead
            if self.done or self.skipped:
                for sink in self._sinks:
                    sink.finish()
                if self._pictures is not None:
                    self._pictures.finish()
        self._watch(at_end=True)

    def _take(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._fail(outcome.file.video, str(outcome.error))
            return
        assert outcome.activations is not None
        begun = time.perf_counter()
        found = self._localizer.detect(outcome.activations)
        self._time("decode", time.perf_counter() - begun)
        contract = self._localizer.contract
        records = self.choice.written(contract, outcome.activations, found)
        try:
            for sink in self._sinks:
                sink.add(outcome.file.video, records)
        except InputError as error:
            self._fail(outcome.file.video, str(error))
            return
        self.done += 1
        self._video_s += len(outcome.activations.attention) * contract.timing.snippet_s
        self.records += len(records)
        if self._pictures is not None:
            shown = self.choice.shown(found)
            file = outcome.file
            self._pictures.draw(file.video, outcome.activations, shown, contract, file.film)

    def _fail(self, video: str, error: str) -> None:
        self.failures.append(error)
        for sink in self._sinks:
            sink.fail(video, error)

    def _time(self, stage: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.observe("co2net_stage_seconds", seconds, stage=stage)

    def _watch(self, *, at_end: bool = False) -> None:
        if self._metrics is None:
            return
        results = {"done": self.done, "failed": len(self.failures), "skipped": self.skipped}
        for result, count in results.items():
            self._metrics.set("co2net_videos_total", count, result=result)
        self._metrics.set("co2net_video_seconds_total", self._video_s)
        self._metrics.set("co2net_records_total", self.records)
        self._metrics.update(force=at_end)
