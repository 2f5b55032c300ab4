"""A dataset as a training run sees it: what is trained on, held out and evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net.config import ModelConfig, TrainConfig
from co2net.data.annotations import Video
from co2net.data.dataset import Dataset
from co2net.training import holdout
from co2net.training.resume_state import fingerprint
from co2net.training.sampling import BatchSampler
from co2net_runtime.errors import InputError

SHOWN = 5


@dataclass(frozen=True)
class TrainingData:
    """train: videos to draw from. held_out: training videos that only choose the checkpoint.

    evaluated: videos of `subset` whose segments are compared during training; none if it has no
    segments. notes: what the user should know, one line each.
    """

    dataset: Dataset
    train: tuple[Video, ...]
    held_out: tuple[Video, ...]
    subset: str
    evaluated: tuple[Video, ...]
    notes: tuple[str, ...]

    @staticmethod
    def of(dataset: Dataset, config: TrainConfig) -> "TrainingData":
        """Choose the videos.

        Raises InputError if none is left to train on, none can be held out, or the evaluated
        subset is missing or, where it chooses the checkpoint, has no segments.
        """
        notes = []
        offered = dataset.videos(dataset.train_subset)
        usable = tuple(v for v in offered if dataset.length(v.name) >= config.min_snippets)
        if len(usable) < len(offered):
            notes.append(
                f"{len(offered) - len(usable)} of {len(offered)} training videos are left out: "
                f"shorter than min_snippets={config.min_snippets}"
            )
        if not usable:
            raise InputError("no training video is as long as min_snippets")
        train, held_out = usable, ()
        if config.select == "best-on-holdout":
            labels = dataset.annotations.label_matrix(usable)
            kept, held = holdout.split(labels, config.holdout_fraction)
            train = tuple(usable[i] for i in kept)
            held_out = tuple(usable[i] for i in held)
        subset = config.evaluate_subset or dataset.test_subset
        evaluated = dataset.videos(subset)
        if not any(len(video.segments) for video in evaluated):
            if config.select == "best-on-test":
                raise InputError(
                    f"no video of the subset {subset!r} has segments, so no detection mAP can "
                    "choose the checkpoint: pass another --select"
                )
            notes.append(f"no detection mAP: no video of the subset {subset!r} has segments")
            evaluated = ()
        return TrainingData(dataset, train, held_out, subset, evaluated, tuple(notes))

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """Video-level labels of the training videos, (N, C) float32."""
        return self.dataset.annotations.label_matrix(self.train)

    @property
    def names(self) -> list[str]:
        """Names of the training videos."""
        return [video.name for video in self.train]

    @property
    def lengths(self) -> list[int]:
        """Snippets of the training videos."""
        return [self.dataset.length(video.name) for video in self.train]

    def model_config(self, config: TrainConfig) -> ModelConfig:
        """Return the shape of the network for this data."""
        return config.model.for_data(
            classes=len(self.dataset.classes),
            rgb_dim=self.dataset.rgb_dim,
            flow_dim=self.dataset.flow_dim,
        )

    def sampler(self, config: TrainConfig, rank: int = 0) -> BatchSampler:
        """Return the sampler of a process; rank 0 draws what a run of one process draws."""
        return BatchSampler(
            self.labels,
            self.lengths,
            seed=config.seed if rank == 0 else (config.seed, rank),
            max_snippets=config.max_snippets,
            pairs=config.pairs,
            singles=config.singles,
        )

    def unpaired_note(self, sampler: BatchSampler) -> str | None:
        """Return the classes that pairs cannot be drawn of, in words, or None."""
        if not sampler.unpaired:
            return None
        names = [self.dataset.classes[index] for index in sampler.unpaired]
        return (
            f"{len(names)} of {len(self.dataset.classes)} classes have fewer than two training "
            f"videos and are left out of the pairs: {_listed(names)}"
        )

    def fingerprint(self) -> str:
        """Return a hash of what the sampler draws from."""
        return fingerprint(self.dataset.classes, self.names, self.lengths, self.labels)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
