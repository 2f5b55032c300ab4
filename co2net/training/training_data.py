"""A dataset as a training run sees it: the videos to train on, to hold out and to evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net.config import ModelConfig, TrainConfig
from co2net.data.annotations import Video
from co2net.data.dataset import Dataset
from co2net.training.resume_state import fingerprint
from co2net.training.sampling import BatchSampler
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import number_of

Indices = npt.NDArray[np.int64]

# names that a note lists
SHOWN = 5

# videos of a class that are never held out: a pair
KEPT_PER_CLASS = 2

# held-out videos of a class below which the hold-out's mAP is too coarse to choose by
CHOOSING_PER_CLASS = 2


@dataclass(frozen=True)
class TrainingData:
    """The videos of a run."""

    dataset: Dataset
    train: tuple[Video, ...]  # to draw batches from
    held_out: tuple[Video, ...]  # training videos that only choose the checkpoint
    subset: str  # name of the evaluated subset
    evaluated: tuple[Video, ...]  # its videos; none if it has no segments
    notes: tuple[str, ...]  # for the user, one line each

    @staticmethod
    def of(dataset: Dataset, config: TrainConfig) -> "TrainingData":
        """Choose the videos of a run.

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
        labels = dataset.annotations.label_matrix(usable)
        lost = dataset.annotations.label_matrix(offered).any(axis=0) & ~labels.any(axis=0)
        if lost.any():
            names = [dataset.classes[index] for index in np.flatnonzero(lost)]
            notes.append(
                f"min_snippets={config.min_snippets} leaves {len(names)} of "
                f"{len(dataset.classes)} classes 0 training videos: cannot be learned, counts as "
                f"AP 0: {_listed(names)}"
            )
        train, held_out = usable, ()
        if config.select == "best-on-holdout":
            kept, held = split_holdout(labels, config.holdout_fraction)
            train = tuple(usable[i] for i in kept)
            held_out = tuple(usable[i] for i in held)
            notes += _coarse_note(labels, held)
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
        """Return the sampler of a process; rank 0 draws the batches of a run of one process."""
        return BatchSampler(
            self.labels,
            self.lengths,
            seed=config.seed if rank == 0 else (config.seed, rank),
            max_snippets=config.max_snippets,
            pairs=config.pairs,
            singles=config.singles,
        )

    def unpaired_note(self, sampler: BatchSampler) -> str | None:
        """Return a note that names the classes with a single training video, if there are any."""
        counts = self.labels.sum(axis=0)
        names = [self.dataset.classes[index] for index in sampler.unpaired if counts[index]]
        if not names:
            return None
        return (
            f"{len(names)} of {len(self.dataset.classes)} classes have a single training video "
            f"and are left out of the pairs: {_listed(names)}"
        )

    def fingerprint(self) -> str:
        """Return a hash of the classes and of the training videos' names, lengths and labels."""
        return fingerprint(self.dataset.classes, self.names, self.lengths, self.labels)


def split_holdout(labels: npt.ArrayLike, fraction: float) -> tuple[Indices, Indices]:
    """Split training videos into those to train on and those to hold out.

    Of each class about `fraction` of its videos are held out, at least one, but KEPT_PER_CLASS
    are always left to train on. Rare classes choose first. The split depends on nothing else, so
    all seeds of an experiment are compared on the same videos.

    Args:
        labels: (N, C), nonzero where the video shows the class.
        fraction: In (0, 1).

    Returns:
        Indices of the videos to train on and of the held-out ones, ascending.

    Raises:
        InputError: No video can be held out.
    """
    present = np.asarray(labels) > 0
    left = present.sum(axis=0)
    wanted = np.maximum(np.rint(left * fraction), 1)
    held = np.zeros(len(present), dtype=np.bool_)
    order = np.random.default_rng(0).permutation(len(present))
    for label in np.argsort(left, kind="stable"):
        for video in order[present[order, label]]:
            if present[held, label].sum() >= wanted[label]:
                break
            if not held[video] and (left[present[video]] > KEPT_PER_CLASS).all():
                held[video] = True
                left = left - present[video]
    if not held.any():
        raise InputError(
            "no class has three training videos, and holding one out takes three: choose the "
            "checkpoint another way (--select last), or add training videos"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def _coarse_note(labels: npt.NDArray[np.float32], held: Indices) -> list[str]:
    present = labels.sum(axis=0) > 0
    coarse = int((labels[held].sum(axis=0)[present] < CHOOSING_PER_CLASS).sum())
    if not coarse:
        return []
    return [
        f"the hold-out of {number_of(len(held), 'video')} has fewer than {CHOOSING_PER_CLASS} "
        f"videos of {coarse} of {int(present.sum())} classes, so its mAP can hardly tell "
        "checkpoints apart: raise holdout_fraction, or pass --select last"
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
