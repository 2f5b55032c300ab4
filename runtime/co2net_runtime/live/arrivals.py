"""The seam between a source of snippets and the queue that reads it in a thread."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

# seconds between two looks at a source; also how long a stop may take
POLL_S = 0.05

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arrival:
    """One delivery of a source: snippets, or a report of trouble, or both."""

    rows: Array | None = None  # (n, D) or (D,) floating point, D as the model wants it
    trouble: str = ""  # for the user; one line
    missing: int = 0  # snippets that took their time in the stream but cannot be used
    lost: int = 0  # snippets that took their time in the stream and that nothing can replace
    gap: bool = False  # an unknown number of snippets may be lost before what comes next
    disconnected: bool = False  # the producer has gone; another may come
    failed: bool = False  # the source has ended because of the trouble


# The source looked and found nothing. Silence is counted in these: a machine too busy to look
# does not make its producer silent.
NOTHING = Arrival()


class Source(Protocol):
    """A producer of features. A new kind is a class with this method and a line in `SCHEMES`."""

    def arrivals(self, stop: threading.Event, position: int) -> Iterator[Arrival]:
        """Yield what arrives, and NOTHING now and then, until the source ends or `stop` is set.

        Args:
            stop: Looked at every POLL_S seconds.
            position: Snippets to leave out at the beginning, if the source can go back.
        """


def judge(shape: tuple[int, ...], dtype: np.dtype[Any], feature_dim: int) -> Arrival | None:
    """Judge an array by its header: None if it holds snippets, else the trouble to report.

    Args:
        shape: (n, D) or (D,), with any number of axes of length 1 besides.
        dtype: Any floating-point type fits.
        feature_dim: The D that the model wants.
    """
    axes = snippet_shape(shape, feature_dim)
    if dtype.kind == "f" and axes[-1:] == (feature_dim,) and len(axes) <= 2:
        return None
    expected = f"expected floating-point snippets of {feature_dim} channels"
    text = f"a block of shape {shape}, {dtype}: {expected}"
    # an array without channels holds no snippets, however many rows it claims
    count = 0 if 0 in shape else shape[0] if len(shape) > 1 else 1
    return Arrival(trouble=text, missing=count)


def snippet_shape(shape: tuple[int, ...], feature_dim: int) -> tuple[int, ...]:
    """Return the shape without axes of length 1 where it has more than two."""
    if len(shape) <= 2:
        return shape
    axes = tuple(length for length in shape if length != 1)
    return axes if axes else (feature_dim,) if feature_dim == 1 else shape
