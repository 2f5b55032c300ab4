"""The training loop (method, section 3).

`python -m co2net.training.loop` is co2net-train, for torchrun:
torchrun --nproc-per-node 2 -m co2net.training.loop DATA --out RUN
"""

import time
from dataclasses import dataclass

import torch

from co2net.config import TrainConfig
from co2net.settings import dump_config
from co2net.training.batches import Batch, BatchLoader
from co2net.training.best import Best, score_of, update
from co2net.training.checkpoints import Keeper
from co2net.training.devices import explained_memory
from co2net.training.distributed import Group
from co2net.training.environment import describe_environment
from co2net.training.metrics import Recorder, describe_scores
from co2net.training.progress import Pace, StatusLine
from co2net.training.resume_state import Position
from co2net.training.run_folder import RunFolder
from co2net.training.train_step import Learner, NonFiniteLoss
from co2net.training.training_data import TrainingData
from co2net.training.validation import DetectionScores, LabelScores, score_detection, score_labels
from co2net_runtime.cli.console import finish_on_interrupt
from co2net_runtime.errors import Co2netError

SMALLER_BATCH = (
    "try --set max_snippets=..., --set singles=... or --set pairs=..., or --set precision=bfloat16"
)


class TrainingFailed(Co2netError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after which iteration, its best evaluation, and whether a signal did it."""

    iteration: int
    best: Best | None
    interrupted: bool


def train(
    data: TrainingData,
    config: TrainConfig,
    run: RunFolder,
    group: Group,
    line: StatusLine,
) -> Outcome:
    """Train in `run`, from its last.ckpt if there is one, else from the start.

    Writes metrics, last.ckpt, and best.ckpt where the config selects one. All processes of the
    group call this; rank 0 evaluates and writes. A signal (Ctrl-C, SIGTERM) ends the run after
    the iteration in hand, with last.ckpt written.

    Raises InputError if last.ckpt is of another run, TrainingFailed if the loss turns NaN or
    infinite (last.ckpt is then the state before that batch), OutOfMemory if a batch does not fit.
    """
    torch.manual_seed(config.seed)
    learner = Learner(data.model_config(config), config, group)
    sampler = data.sampler(config, group.rank)
    keeper = Keeper(data, config, run, group, learner, data.fingerprint())
    at = keeper.start(sampler)
    if group.leads:
        run.write_config(dump_config(config))
        run.log_environment({"iteration": at.iteration, **describe_environment(group)})
    recorder = Recorder(run if group.leads else None, first=at.iteration + 1)
    loader = BatchLoader(
        sampler, data.names, data.labels, data.dataset.features, pinned=group.device.type == "cuda"
    )
    stopped = at.iteration >= config.iterations or _impatient(config, at.best)
    interrupted = False
    stopping = finish_on_interrupt("iteration")
    with stopping as interruption, recorder, loader as batches:
        for note in (*data.notes, data.unpaired_note(sampler), recorder.note):
            if note:
                line.note(f"note: {note}")
        batch_words = f"a batch of {config.batch_size} videos x {config.max_snippets} snippets"
        pace = Pace(config.iterations)
        while not stopped:
            started = time.perf_counter()
            batch = next(batches)
            waited_s = time.perf_counter() - started
            try:
                with explained_memory(group.device, batch_words, SMALLER_BATCH):
                    terms = learner.step(
                        batch.features, batch.labels, at.iteration / config.iterations
                    )
            except NonFiniteLoss as error:
                keeper.save_last(at)
                raise _not_finite(error, at.iteration + 1, batch, run) from error
            at.iteration += 1
            at.position = Position.of(batch.sampler_state, group.device)
            took_s = time.perf_counter() - started
            times = {"seconds": took_s, "data_seconds": waited_s}
            rate = {"learning_rate": config.learning_rate}
            recorder.iteration(at.iteration, {**terms, **rate, **times})
            line.show(pace.describe(at.iteration, took_s, terms["total"]))

            finished = at.iteration >= config.iterations
            evaluated = finished or _due(at.iteration, config.evaluate_every)
            if evaluated and group.leads:
                detection, labels = _evaluate(learner, data, config, line)
                recorder.evaluation(at.iteration, detection, labels)
                line.note(f"iteration {at.iteration}: {describe_scores(detection, labels)}")
                if config.select != "last":
                    score = score_of(config.select, detection, labels)
                    at.best = update(at.best, at.iteration, score)
                    if at.best.iteration == at.iteration:
                        keeper.checkpoint(at.iteration).save(run.best)
            interrupted = group.any(interruption.is_set()) and not finished
            stopped = interrupted or group.any(finished or _impatient(config, at.best))
            if stopped or evaluated or _due(at.iteration, config.checkpoint_every):
                keeper.save_last(at)
    return Outcome(at.iteration, at.best, interrupted)


def _evaluate(
    learner: Learner, data: TrainingData, config: TrainConfig, line: StatusLine
) -> tuple[DetectionScores | None, LabelScores | None]:
    detection = labels = None
    device = next(learner.model.parameters()).device
    with explained_memory(device, "evaluating whole videos", "free memory, or pass --device cpu"):
        if data.evaluated:
            videos = line.each(data.evaluated, f"evaluating on {data.subset}")
            detection = score_detection(learner.model, data.dataset, data.subset, videos, config)
        if data.held_out:
            videos = line.each(data.held_out, "evaluating on the hold-out")
            labels = score_labels(learner.model, data.dataset, videos, config.loss)
    return detection, labels


def _impatient(config: TrainConfig, best: Best | None) -> bool:
    return config.patience is not None and best is not None and best.stale >= config.patience


def _due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def _not_finite(
    error: NonFiniteLoss, iteration: int, batch: Batch, run: RunFolder
) -> TrainingFailed:
    terms = ", ".join(f"{name} {value:.4g}" for name, value in error.terms.items())
    return TrainingFailed(
        f"the loss is not finite at iteration {iteration} ({terms}) on the videos "
        f"{', '.join(batch.videos)}: {run.last} is the state before it; look for NaN in these "
        "videos' features (co2net-data inspect), or lower learning_rate"
    )
