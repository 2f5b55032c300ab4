"""Which training videos are held out to choose a checkpoint by their video labels."""

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import InputError

KEPT_PER_CLASS = 2

Indices = npt.NDArray[np.int64]


def split(labels: npt.ArrayLike, fraction: float) -> tuple[Indices, Indices]:
    """Split N training videos with labels (N, C) multi-hot into training and held-out indices.

    Of every class about `fraction` of its videos are held out, at least one, yet never so many
    that fewer than KEPT_PER_CLASS (a pair) are left to train on. Rare classes choose first. The
    split depends on nothing else, so all seeds of an experiment are judged on the same videos.

    Raises InputError if no video can be held out.
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
            "no class has the three training videos that holding one out takes: choose the "
            "checkpoint otherwise (--select last), or add training videos"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)
