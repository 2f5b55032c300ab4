"""Which videos share a call of a graph that packs ragged batches end to end."""

from collections.abc import Sequence

# Snippets from which a call gains little from more: measured 277, 254 and 244 us a snippet at
# 300, 600 and 1200, against 473 for videos of 50 to 100 one by one.
PACKED_SNIPPETS = 512


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
