"""The file that live streams are saved in, and that the next run goes on from."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path, output_file
from co2net_runtime.files.npy import read_npz
from co2net_runtime.live.stream import StateArrays


class StateFile:
    """Saves the streams every few seconds; a save that fails is reported and tried again."""

    def __init__(self, path: Path, every_s: float, note: Callable[[str], None]) -> None:
        """Check that the file can be written.

        Raises:
            InputError: It cannot.
        """
        output_file(path, overwrite=True)
        self.path, self._every_s, self._note = path, every_s, note
        self._tried_at = time.monotonic()
        self.failing = False  # the last save did not succeed

    def load(self) -> StateArrays | None:
        """Return the saved arrays; None if there is no file yet.

        Raises:
            InputError: The file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            return dict(read_npz(self.path))
        except InputError as error:
            raise InputError(
                f"{self.path}: damaged, no state of streams: move it away to start over"
            ) from error

    def save(self, arrays: Callable[[], StateArrays], *, force: bool = False) -> None:
        """Save the arrays if it is time to, or with `force`; a failure is only reported."""
        if not force and time.monotonic() - self._tried_at < self._every_s:
            return
        self._tried_at = time.monotonic()
        try:
            with atomic_path(self.path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays())  # type: ignore[arg-type]  # numpy takes its own allow_pickle for one of the arrays
        except (OSError, InputError) as error:
            if not self.failing:
                reason = error.strerror if isinstance(error, OSError) else error
                self._note(f"{self.path}: cannot be saved: {reason}; going on, trying again")
            self.failing = True
            return
        if self.failing:
            self._note(f"{self.path}: saved again")
        self.failing = False
