"""Which videos and snippets make a batch (method, section 3); numpy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError


@dataclass(frozen=True)
class Draw:
    """The plan of one batch, pairs first."""

    videos: npt.NDArray[np.int64]  # (B,) indices of training videos
    snippets: npt.NDArray[np.int64]  # (B, S) indices of snippets, ascending along S


class BatchSampler:
    """Draws batches of `pairs` same-class pairs followed by `singles` random videos.

    The draws come from one legacy RandomState in the published order, so a seed gives the batches
    of the published program. Classes with fewer than two videos are left out of the pairs
    (`unpaired` holds their indices).
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        lengths: Sequence[int],
        *,
        seed: int | Sequence[int],
        max_snippets: int,
        pairs: int = 3,
        singles: int = 4,
    ) -> None:
        """Prepare to draw.

        Args:
            labels: (N, C), nonzero where the video shows the class.
            lengths: N lengths in snippets.
            seed: Of the random numbers.
            max_snippets: S, the length that every video is resampled to.
            pairs: Pairs of videos in a batch.
            singles: Random videos in a batch.

        Raises:
            InputError: There are no videos, or pairs are asked for and no class has two videos.
        """
        present = np.asarray(labels) > 0
        self._lengths = np.asarray(lengths, dtype=np.int64)
        if len(self._lengths) == 0:
            raise InputError("no training videos to draw from")
        members = [np.flatnonzero(column) for column in present.T]
        self._members = [videos for videos in members if len(videos) >= 2]
        self.unpaired = tuple(c for c, videos in enumerate(members) if len(videos) < 2)
        if pairs and not self._members:
            raise InputError(
                "no class has two training videos, so no pairs can be drawn: "
                "add training videos, or train with pairs=0"
            )
        self._pairs, self._singles, self._max_snippets = pairs, singles, max_snippets
        self._random = np.random.RandomState(seed)  # the published draws

    def draw(self) -> Draw:
        """Draw the next batch."""
        random = self._random
        videos: list[int] = []
        if self._pairs:
            for chosen in random.choice(len(self._members), size=self._pairs):
                members = self._members[chosen]
                videos.extend(members[random.choice(len(members), size=2, replace=False)])
        videos.extend(random.choice(len(self._lengths), size=self._singles))
        rows = [resample(int(self._lengths[v]), self._max_snippets, random) for v in videos]
        return Draw(np.array(videos, dtype=np.int64), np.stack(rows))

    def state(self) -> dict[str, Any]:
        """Return the state of the generator as plain values; it determines the next draw."""
        state = self._random.get_state(legacy=False)
        assert isinstance(state, dict)
        return {
            "key": [int(word) for word in state["state"]["key"]],
            "position": int(state["state"]["pos"]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from where `state()` was taken."""
        key = np.array(state["key"], dtype=np.uint32)
        self._random.set_state(("MT19937", key, state["position"], 0, 0.0))


def resample(
    length: int,
    target: int,
    random: np.random.RandomState,
) -> npt.NDArray[np.int64]:
    """Pick `target` of `length` snippets, one at random from each of `target` equal stretches.

    Returns:
        (target,) int64, ascending. If the lengths are equal, the identity, without a draw; a video
        shorter than `target` repeats snippets.
    """
    if length == target:
        return np.arange(length, dtype=np.int64)
    first = (np.arange(target) * length / target).astype(np.int64)
    # stretch i ends where stretch i + 1 begins, that snippet included; the last at the video's end
    last = np.append(first[1:], length - 1)
    # a stretch of one snippet takes no random number, the others one each, in order
    picked: npt.NDArray[np.int64] = random.randint(first, last + 1, dtype=np.int64)
    return picked
