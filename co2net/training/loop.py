"""The training loop (method, section 3)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch

from co2net.config import TrainConfig
from co2net.settings import dump_config, flat_settings
from co2net.training.batches import Batch, BatchLoader
from co2net.training.best import Best, selection_score, update_best
from co2net.training.checkpoints import CheckpointManager, RunState
from co2net.training.devices import explained_memory
from co2net.training.distributed import ProcessGroup
from co2net.training.environment import describe_environment
from co2net.training.metrics import MetricsWriter, describe_scores
from co2net.training.progress import ProgressLine, ProgressMeter
from co2net.training.resume_state import Position
from co2net.training.run_folder import RunFolder
from co2net.training.train_step import NonFiniteLoss, Trainer
from co2net.training.training_data import TrainingData
from co2net.training.validation import DetectionScores, LabelScores, score_detection, score_labels
from co2net_runtime.cli.console import finish_on_interrupt
from co2net_runtime.errors import Co2netError
from co2net_runtime.files.text import number_of

SMALLER_BATCH = (
    "try --set max_snippets=..., --set singles=... or --set pairs=..., or --set precision=bfloat16"
)


class TrainingFailed(Co2netError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    iteration: int  # the last one done
    best: Best | None  # the best evaluation, None if the config selects none
    interrupted: bool  # whether a signal ended it


def train(
    data: TrainingData,
    config: TrainConfig,
    run: RunFolder,
    group: ProcessGroup,
    line: ProgressLine,
    log_to: Sequence[str] = (),
) -> TrainResult:
    """Train in `run`, from its last.ckpt if there is one, else from the start.

    Writes metrics, last.ckpt and, if the config selects one, best.ckpt. All processes of the group
    call this; the main one evaluates and writes. A signal (Ctrl-C, SIGTERM) ends the run after the
    current iteration, with last.ckpt written. last.ckpt is also written before each evaluation, so
    a failing one loses nothing: a resume does that evaluation first.

    Args:
        data: The videos.
        config: The settings.
        run: An open run folder.
        group: The processes that train together.
        line: Where progress and notes go.
        log_to: Loggers, as `MetricsWriter` takes them.

    Returns:
        How the run ended.

    Raises:
        InputError: last.ckpt belongs to another run, features to evaluate on are damaged or not
            finite, a file cannot be written, or a logger fails.
        MissingDependencyError: A logger's package is not installed.
        TrainingFailed: The loss is NaN or infinite; last.ckpt is the state before that batch.
        OutOfMemory: A batch or a video to evaluate does not fit the device.
    """
    torch.manual_seed(config.seed)
    trainer = Trainer(data.model_config(config), config, group)
    sampler = data.sampler(config, group.rank)
    checkpoints = CheckpointManager(data, config, run, group, trainer, data.fingerprint())
    at = checkpoints.start(sampler)
    if group.is_main:
        run.write_config(dump_config(config))
        run.log_environment({"iteration": at.iteration, **describe_environment(group)})
    logged_run = run if group.is_main else None
    metrics = MetricsWriter(logged_run, at.iteration + 1, log_to, flat_settings(config))
    loader = BatchLoader(
        sampler, data.names, data.labels, data.dataset.features, pinned=group.device.type == "cuda"
    )
    interrupted = False
    stopping = finish_on_interrupt("iteration")
    with stopping as interruption, metrics, loader as batches:
        for note in (*data.notes, data.unpaired_note(sampler), *metrics.notes):
            if note:
                line.note(f"note: {note}")
        if at.awaits_evaluation:
            _evaluate(at, checkpoints, metrics, line)
        stopped = group.any(at.iteration >= config.iterations or _impatient(config, at.best))
        videos = number_of(config.batch_size, "video")
        batch_words = f"a batch of {videos} x {number_of(config.max_snippets, 'snippet')}"
        meter = ProgressMeter(config.iterations)
        while not stopped:
            started = time.perf_counter()
            batch = next(batches)
            waited_s = time.perf_counter() - started
            try:
                with explained_memory(group.device, batch_words, SMALLER_BATCH):
                    values = trainer.step(batch.features, batch.labels, at.iteration + 1)
            except NonFiniteLoss as error:
                checkpoints.save_last(at)
                raise _not_finite(error, at.iteration + 1, batch, data, run) from error
            at.iteration += 1
            at.position = Position.of(batch.sampler_state, group.device)
            took_s = time.perf_counter() - started
            times = {"seconds": took_s, "data_seconds": waited_s}
            metrics.iteration(at.iteration, {**values, **times})
            line.show(meter.describe(at.iteration, took_s, values, datetime.now()))

            finished = at.iteration >= config.iterations
            at.awaits_evaluation = finished or _due(at.iteration, config.evaluate_every)
            if at.awaits_evaluation:
                checkpoints.save_last(at)
                _evaluate(at, checkpoints, metrics, line)
            elif _due(at.iteration, config.checkpoint_every):
                checkpoints.save_last(at)
            interrupted = group.any(interruption.is_set()) and not finished
            stopped = interrupted or group.any(finished or _impatient(config, at.best))
        if interrupted:
            checkpoints.save_last(at)
    return TrainResult(at.iteration, at.best, interrupted)


def _evaluate(
    at: RunState, checkpoints: CheckpointManager, metrics: MetricsWriter, line: ProgressLine
) -> None:
    """Evaluate the weights, write best.ckpt if they are the best, and last.ckpt with the result.

    Every process must call this.
    """
    config, group = checkpoints.config, checkpoints.group
    if group.is_main:
        detection, labels = _scores(checkpoints, line)
        metrics.evaluation(at.iteration, detection, labels)
        line.note(f"iteration {at.iteration}: {describe_scores(detection, labels)}")
        if config.select != "last":
            score = selection_score(config.select, detection, labels)
            at.best = update_best(at.best, at.iteration, score)
            if at.best.iteration == at.iteration:
                checkpoints.checkpoint(at.iteration).save(checkpoints.run.best)
    at.awaits_evaluation = False
    checkpoints.save_last(at)


def _scores(
    checkpoints: CheckpointManager, line: ProgressLine
) -> tuple[DetectionScores | None, LabelScores | None]:
    detection = labels = None
    data, config = checkpoints.data, checkpoints.config
    model, device = checkpoints.trainer.result, checkpoints.group.device
    with explained_memory(device, "evaluating whole videos", "free memory, or pass --device cpu"):
        if data.evaluated:
            videos = line.each(data.evaluated, f"evaluating on {data.subset}")
            detection = score_detection(model, data.dataset, data.subset, videos, config)
        if data.held_out:
            videos = line.each(data.held_out, "evaluating on the hold-out")
            labels = score_labels(model, data.dataset, videos, config.loss)
    return detection, labels


def _impatient(config: TrainConfig, best: Best | None) -> bool:
    return config.patience is not None and best is not None and best.stale >= config.patience


def _due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def _not_finite(
    error: NonFiniteLoss, iteration: int, batch: Batch, data: TrainingData, run: RunFolder
) -> TrainingFailed:
    terms = ", ".join(f"{name} {value:.4g}" for name, value in error.terms.items())
    said = f"the loss is not finite at iteration {iteration} ({terms})"
    damaged = sorted(
        name for name in set(batch.videos) if not np.isfinite(data.dataset.features(name)).all()
    )
    if damaged:
        files = ", ".join(data.dataset.where(name) for name in damaged)
        advice = f"NaN or infinity in {files}: extract these features again, or remove the files"
    else:
        advice = f"on the videos {', '.join(batch.videos)}: lower learning_rate"
    return TrainingFailed(f"{said}: {advice}; {run.last} is the state before this batch")
