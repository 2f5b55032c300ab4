"""The latest rows of an endless table: added at the end, forgotten at the front."""

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

_SMALLEST = 64


class RowBuffer:
    """Rows first ... first + n - 1 of a table (., width) float32; each costs amortized O(1)."""

    def __init__(self, width: int) -> None:
        self.first = 0
        self._buffer = np.empty((_SMALLEST, width), np.float32)
        self._begin = self._end = 0

    @property
    def rows(self) -> Rows:
        """The rows that are held, (n, width): a view that stays as it is until `reset`."""
        return self._buffer[self._begin : self._end]

    def append(self, rows: Rows) -> None:
        """Add rows (m, width) at the end."""
        if self._end + len(rows) > len(self._buffer):
            # twice what is needed: as many rows come in before the next copy as this one moves
            held = self.rows
            needed = len(held) + len(rows)
            self._buffer = np.empty((max(_SMALLEST, 2 * needed), held.shape[1]), np.float32)
            self._buffer[: len(held)] = held
            self._begin, self._end = 0, len(held)
        self._buffer[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def forget(self, before: int) -> None:
        """Forget the rows before row `before` of the table."""
        count = min(max(0, before - self.first), len(self.rows))
        self._begin += count
        self.first += count

    def reset(self, first: int, rows: Rows) -> None:
        """Hold these rows (n, width) instead, the first of which is row `first` of the table.

        Raises ValueError for another width.
        """
        if rows.ndim != 2 or rows.shape[1] != self._buffer.shape[1]:
            raise ValueError(f"rows {rows.shape}, expected (n, {self._buffer.shape[1]})")
        self.first, self._begin, self._end = first, 0, 0
        self.append(rows)
