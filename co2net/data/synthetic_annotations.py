"""Random annotations to plant features under, in place of real ones."""

import numpy as np

from co2net.data.video import Annotations, Video

TRAIN_SUBSET, TEST_SUBSET = "train", "test"

# every third video tests
TEST_EVERY = 3

# one video in this many shows a second class
_TWO_CLASSES_EVERY = 5

_NAMES = (
    "Jump", "Throw", "Kick", "Serve", "Dive", "Swing", "Spin", "Lift", "Catch", "Punch",
    "Climb", "Row", "Bowl", "Vault", "Skate", "Putt", "Dunk", "Sprint", "Pitch", "Pass",
)  # fmt: skip


def random_annotations(classes: int, videos: int, seed: int) -> Annotations:
    """Return plausible annotations: two of three videos to train on, every third to test on.

    As in THUMOS14, actions of a few seconds fill about a third of the time; they do not overlap.
    A video lasts up to three minutes and shows one class, every fifth or so two. Each subset takes
    the classes in turn. The same seed gives the same videos, however many follow.

    Raises ValueError if there is no class, or no video in one of the subsets.
    """
    if classes < 1 or videos < TEST_EVERY:
        raise ValueError(
            f"expected at least 1 class and {TEST_EVERY} videos, got {classes} and {videos}"
        )
    names = tuple(_NAMES[c] if c < len(_NAMES) else f"Action{c + 1}" for c in range(classes))
    made: dict[str, list[Video]] = {TRAIN_SUBSET: [], TEST_SUBSET: []}
    everything = []
    for number in range(videos):
        subset = TEST_SUBSET if number % TEST_EVERY == TEST_EVERY - 1 else TRAIN_SUBSET
        label = len(made[subset]) % classes
        video = _random_video(f"{subset}_{number:04d}", subset, label, classes, [seed, number])
        made[subset].append(video)
        everything.append(video)
    return Annotations(names, tuple(everything))


def _random_video(name: str, subset: str, label: int, classes: int, seed: list[int]) -> Video:
    random = np.random.default_rng(seed)
    labels = [label]
    if classes > 1 and random.integers(_TWO_CLASSES_EVERY) == 0:
        labels.append((label + int(random.integers(1, classes))) % classes)
    segments, segment_labels = [], []
    time_s = random.uniform(1, 15)
    for number in range(int(random.integers(len(labels) + 1, 12))):
        length_s = 1.5 + random.lognormal(1.0, 0.6)
        segments.append((round(time_s, 1), round(time_s + length_s, 1)))
        # each label at least once, then any
        segment_labels.append(labels[number] if number < len(labels) else random.choice(labels))
        time_s += length_s + random.uniform(1, 14)
    return Video(
        name=name,
        subset=subset,
        duration_s=round(time_s + random.uniform(1, 15), 1),
        labels=tuple(sorted(labels)),
        segments=np.array(segments, dtype=np.float64),
        segment_labels=np.array(segment_labels, dtype=np.int64),
        ambiguous=np.empty((0, 2)),
    )
