"""Which videos of a dataset calibrate an artefact and which judge it."""

from dataclasses import dataclass

from co2net.checkpoint import Checkpoint
from co2net.data.dataset import Dataset
from co2net.data.video import Video, evenly
from co2net_runtime.errors import InputError

# 16 gave the same decisions as 64
CALIBRATION_VIDEOS = 32


@dataclass(frozen=True)
class Split:
    """Disjoint videos of one dataset."""

    calibration: tuple[Video, ...]  # to measure ranges on
    held_out: tuple[Video, ...]  # to judge decisions and mAP on


def calibration_split(
    dataset: Dataset,
    *,
    calibration_count: int = CALIBRATION_VIDEOS,
    held_out_count: int | None = None,
) -> Split:
    """Choose videos evenly over the dataset's order.

    Training videos calibrate. Test videos judge; where there are none, the training videos that
    are left judge, and at most half of them calibrate.

    Args:
        dataset: The annotated features.
        calibration_count: How many videos calibrate.
        held_out_count: How many videos judge; None for all.

    Returns:
        The two parts.

    Raises:
        InputError: There are no training videos.
    """
    training = dataset.videos(dataset.train_subset)
    test = () if dataset.test is None else dataset.annotations.subset(dataset.test)
    rest = tuple(video for video in test if dataset.has_features(video.name))
    if rest:
        calibration = evenly(training, calibration_count)
    else:
        calibration = evenly(training, min(calibration_count, (len(training) + 1) // 2))
        taken = {video.name for video in calibration}
        rest = tuple(video for video in training if video.name not in taken)
    return Split(tuple(calibration), tuple(evenly(rest, held_out_count)))


def check_fits(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Raise InputError unless the dataset's features and classes are the model's.

    The model may know classes that the dataset has no instance of, not the other way around.
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
