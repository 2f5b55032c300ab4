"""Which videos of a dataset calibrate an artefact and which judge it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from co2net.checkpoint import Checkpoint
from co2net.data.dataset import Dataset
from co2net.data.video import Video
from co2net_runtime.errors import InputError

Item = TypeVar("Item")

# 16 gave the same decisions as 64
CALIBRATION_VIDEOS = 32


@dataclass(frozen=True)
class Material:
    """Disjoint videos: `calibration` to measure ranges on, `held_out` to judge on."""

    calibration: tuple[Video, ...]
    held_out: tuple[Video, ...]


def choose(
    dataset: Dataset,
    *,
    calibration_count: int = CALIBRATION_VIDEOS,
    held_out_count: int | None = None,
) -> Material:
    """Choose videos evenly over the dataset's order.

    Calibration takes training videos. The judges are the test videos, all by default; where
    there are none, the training videos that calibration left, of which it then takes at most half.

    Raises InputError if there are no training videos.
    """
    training = dataset.videos(dataset.train_subset)
    test = () if dataset.test is None else dataset.annotations.subset(dataset.test)
    rest = tuple(video for video in test if dataset.has_features(video.name))
    if rest:
        calibration = spread(training, calibration_count)
    else:
        calibration = spread(training, min(calibration_count, (len(training) + 1) // 2))
        taken = {video.name for video in calibration}
        rest = tuple(video for video in training if video.name not in taken)
    held_out = rest if held_out_count is None else spread(rest, held_out_count)
    return Material(calibration, held_out)


def check_fits(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Raise InputError unless the dataset's features and classes are the model's.

    The model may know classes of which the dataset has no instance, not the other way round.
    """
    found = (dataset.rgb_dim, dataset.flow_dim)
    expected = (checkpoint.model.rgb_dim, checkpoint.model.flow_dim)
    if found != expected:
        raise InputError(
            f"{dataset.path}: features of {found[0]} + {found[1]} channels, the model takes "
            f"{expected[0]} + {expected[1]}: give the features that it was trained on"
        )
    unknown = [name for name in dataset.classes if name not in checkpoint.classes]
    if unknown:
        raise InputError(
            f"{dataset.path}: annotated with classes that the model does not know "
            f"({', '.join(map(repr, unknown[:3]))}{', ...' if len(unknown) > 3 else ''}; it knows "
            f"{', '.join(map(repr, checkpoint.classes[:3]))}, ...): give the data that it was "
            "trained on, or the class list in the right spelling"
        )


def spread(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """Return at most `count` of the items, evenly over their order."""
    count = min(count, len(items))
    return tuple(items[i * len(items) // count] for i in range(count))
