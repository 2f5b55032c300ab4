"""The checkpoints of a run: last.ckpt, which it goes on from, and best.ckpt."""

from dataclasses import dataclass, replace

import torch

from co2net.checkpoint import Checkpoint
from co2net.config import TrainConfig
from co2net.training.best import LABELS, Best
from co2net.training.distributed import Group
from co2net.training.environment import git_commit
from co2net.training.resume_state import Position, ResumeState, gather_positions
from co2net.training.run_folder import RunFolder
from co2net.training.sampling import BatchSampler
from co2net.training.train_step import Learner
from co2net.training.training_data import TrainingData
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import to_mapping
from co2net_runtime.version import VERSION


@dataclass
class Progress:
    """Where a run stands: iterations done, what the next one depends on, the best evaluation."""

    iteration: int
    position: Position
    best: Best | None


@dataclass(frozen=True)
class Keeper:
    """Writes the checkpoints of a run, and starts it from the last one.

    fingerprint: of the training data, by which a resume knows them.
    """

    data: TrainingData
    config: TrainConfig
    run: RunFolder
    group: Group
    learner: Learner
    fingerprint: str

    def start(self, sampler: BatchSampler) -> Progress:
        """Bring learner, sampler and random generators to where the run left off."""
        if not self.run.last.is_file():
            if not self.group.leads:
                # every process began with the same weights; its dropout is its own
                torch.manual_seed(self.config.seed + self.group.rank)
            return Progress(0, Position.of(sampler.state(), self.group.device), None)
        checkpoint = Checkpoint.load(self.run.last)
        if checkpoint.training is None:
            raise InputError(f"{self.run.last}: holds no state to resume from")
        state = ResumeState.from_mapping(checkpoint.training, str(self.run.last))
        state.check(self.config, self.fingerprint, self.group, str(self.run.last))
        position = state.positions[self.group.rank]
        self.learner.restore(checkpoint.weights, state.learner)
        sampler.restore(position.sampler)
        position.restore_generators(self.group.device)
        if self.group.leads:
            self.run.rewind(state.iteration)
        return Progress(state.iteration, position, state.best)

    def checkpoint(self, iteration: int) -> Checkpoint:
        """Return the weights as they are, with what they come from."""
        dataset = self.data.dataset
        return Checkpoint(
            model=self.learner.model.config,
            classes=dataset.classes,
            weights=self.learner.model.state_dict(),
            timing=dataset.timing,
            decode=self.config.decode,
            provenance={
                "program": f"co2net-train {VERSION}",
                "git_commit": git_commit(),
                "dataset": dataset.path.name,
                "iteration": iteration,
                "selection": LABELS[self.config.select],
                "config": to_mapping(self.config),
            },
        )

    def save_last(self, at: Progress) -> None:
        """Write last.ckpt; every process must call this."""
        positions = gather_positions(at.position, self.group)
        if not self.group.leads:
            return
        state = ResumeState(
            at.iteration,
            self.config,
            positions,
            self.learner.state(),
            at.best,
            self.fingerprint,
        )
        checkpoint = replace(self.checkpoint(at.iteration), training=state.to_mapping())
        checkpoint.save(self.run.last)
