"""Which videos share a call of the network."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import BackendError
from co2net_runtime.features import Features
from co2net_runtime.files.text import number_of

# a batch may hold this many padded snippets per real one: more costs more than it saves
MAX_PADDING = 0.25
# Snippets from which a call gains little from more: measured 277, 254 and 244 us a snippet at
# 300, 600 and 1200, against 473 for videos of 50 to 100 one by one.
PACKED_SNIPPETS = 512


def group_by_length(
    lengths: Sequence[int],
    size: int,
    max_batch: Callable[[int], int | None],
    *,
    padded_to: Callable[[int], int] = int,
) -> list[list[int]]:
    """Return groups of at most `size` indices of videos of similar length, the longest first.

    Args:
        lengths: Snippets of each video.
        size: The largest group.
        max_batch: The engine's limit for the longest of a group; None: no limit.
        padded_to: The length that the engine computes for a video: it says which ones are similar.
    """
    cost = [padded_to(length) for length in lengths]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    groups: list[list[int]] = []
    room = snippets = 0
    for index in order:
        longest = cost[groups[-1][0]] if groups else 0
        padded = longest * (len(groups[-1]) + 1) if groups else 0
        if room == 0 or padded > (1 + MAX_PADDING) * (snippets + cost[index]):
            limit = max_batch(lengths[index]) if size > 1 else 1
            room, snippets = size if limit is None else min(size, limit), 0
            groups.append([])
        groups[-1].append(index)
        room, snippets = room - 1, snippets + cost[index]
    return groups


def group_to_pack(lengths: Sequence[int]) -> list[list[int]]:
    """Return groups of indices of videos to run in one call each, the longest videos first.

    A group takes videos until it holds PACKED_SNIPPETS; a video of that length runs alone. Similar
    lengths come together, so that the padded input is not much larger than the videos.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    groups: list[list[int]] = []
    held = PACKED_SNIPPETS
    for index in order:
        if held >= PACKED_SNIPPETS:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += lengths[index]
    return groups


def pad(videos: Sequence[Features]) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]:
    """Return the graph's inputs: features (B, longest T, D) padded with zeros, lengths (B,).

    Raises BackendError if they do not fit into memory.
    """
    lengths = np.array([len(video) for video in videos], dtype=np.int64)
    if len(videos) == 1:
        return {"features": videos[0][np.newaxis], "lengths": lengths}
    shape = (len(videos), int(lengths.max()), videos[0].shape[1])
    try:
        batch = np.zeros(shape, np.float32)
    except MemoryError as error:
        raise BackendError(
            f"out of memory with {number_of(shape[0], 'video')} of T = {shape[1]} at once: use a "
            f"smaller --batch"
        ) from error
    for row, video in zip(batch, videos, strict=True):
        row[: len(video)] = video
    return {"features": batch, "lengths": lengths}
