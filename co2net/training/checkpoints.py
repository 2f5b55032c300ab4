"""The checkpoints of a run: last.ckpt, from which it resumes, and best.ckpt."""

from dataclasses import dataclass, replace

import torch

from co2net.checkpoint import Checkpoint
from co2net.config import TrainConfig
from co2net.training.best import SELECTIONS, Best
from co2net.training.distributed import ProcessGroup
from co2net.training.environment import git_commit
from co2net.training.resume_state import Position, ResumeState, gather_positions
from co2net.training.run_folder import RunFolder
from co2net.training.sampling import BatchSampler
from co2net.training.train_step import Trainer
from co2net.training.training_data import TrainingData
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import to_mapping
from co2net_runtime.version import VERSION


@dataclass
class RunState:
    """How far a run has come."""

    iteration: int  # the last one done
    position: Position  # of this process
    best: Best | None  # the best evaluation so far
    awaits_evaluation: bool = False  # whether this iteration's evaluation is still to be done


@dataclass(frozen=True)
class CheckpointManager:
    """Writes the checkpoints of a run and starts it from the last one."""

    data: TrainingData
    config: TrainConfig
    run: RunFolder
    group: ProcessGroup
    trainer: Trainer
    fingerprint: str  # of the training data, to recognize it in a resume

    def start(self, sampler: BatchSampler) -> RunState:
        """Bring trainer, sampler and random generators to where the run left off.

        Raises InputError if last.ckpt is damaged or belongs to another run.
        """
        if not self.run.last.is_file():
            if not self.group.is_main:
                # all processes begin with the same weights; each has a dropout of its own
                torch.manual_seed(self.config.seed + self.group.rank)
            return RunState(0, Position.of(sampler.state(), self.group.device), None)
        where = str(self.run.last)
        checkpoint = Checkpoint.load(self.run.last)
        if checkpoint.training is None:
            raise InputError(f"{where}: holds no state to resume from")
        state = ResumeState.from_mapping(checkpoint.training, where)
        state.check(self.config, self.fingerprint, self.group, where)
        position = state.positions[self.group.rank]
        try:
            self.trainer.restore(checkpoint.weights, state.trainer)
            sampler.restore(position.sampler)
            position.restore_generators(self.group.device)
        except (
            LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError
        ) as error:  # fmt: skip
            # what torch and numpy raise for a state that is not theirs
            raise InputError(f"{where}: a damaged resume state: {error}") from error
        if self.group.is_main:
            self.run.rewind(state.iteration, keep_evaluation=not state.awaits_evaluation)
        return RunState(state.iteration, position, state.best, state.awaits_evaluation)

    def checkpoint(self, iteration: int) -> Checkpoint:
        """Return the weights after `iteration` with their provenance."""
        dataset = self.data.dataset
        return Checkpoint(
            model=self.trainer.model.config,
            classes=dataset.classes,
            weights=self.trainer.result.state_dict(),
            timing=dataset.timing,
            decode=self.config.decode,
            provenance={
                "program": f"co2net-train {VERSION}",
                "git_commit": git_commit(),
                "dataset": dataset.path.name,
                "iteration": iteration,
                "selection": SELECTIONS[self.config.select],
                "config": to_mapping(self.config),
            },
            extraction=dataset.extraction,
        )

    def save_last(self, at: RunState) -> None:
        """Write last.ckpt; every process must call this."""
        positions = gather_positions(at.position, self.group)
        if not self.group.is_main:
            return
        state = ResumeState(
            at.iteration,
            self.config,
            positions,
            self.trainer.state(),
            at.best,
            self.fingerprint,
            at.awaits_evaluation,
        )
        checkpoint = replace(self.checkpoint(at.iteration), training=state.to_mapping())
        checkpoint.save(self.run.last)
