"""One line of progress on stderr: rewritten in a terminal, repeated every 30 s in a log."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import click

Item = TypeVar("Item")

TERMINAL_INTERVAL_S = 0.2
LOG_INTERVAL_S = 30.0


class ProgressLine:
    """Shows the progress of long work; silent if `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._interval = TERMINAL_INTERVAL_S if self._terminal else LOG_INTERVAL_S
        self._shown = time.monotonic()
        self._width = 0

    def show(self, text: str) -> None:
        """Show `text`, unless the previous one was shown a moment ago."""
        now = time.monotonic()
        if self._quiet or now - self._shown < self._interval:
            return
        self._shown = now
        if self._terminal:
            # a wrapped line could not be rewritten
            text = text[: shutil.get_terminal_size().columns - 1]
            click.echo(f"\r{text:<{self._width}}", err=True, nl=False)
            self._width = len(text)
        else:
            click.echo(text, err=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._quiet:
            return
        if self._width:
            click.echo(f"\r{'':<{self._width}}\r", err=True, nl=False)
            self._width = 0
        click.echo(text, err=True)

    def each(self, items: Sequence[Item], label: str) -> Iterator[Item]:
        """Iterate over `items` and show the number done."""
        for done, item in enumerate(items):
            self.show(f"{label}: {done}/{len(items)}")
            yield item


class ProgressMeter:
    """Seconds per iteration, smoothed, and the time left without evaluations."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._smoothed: float | None = None

    def describe(
        self, done: int, seconds: float, values: Mapping[str, float], now: datetime
    ) -> str:
        """Return the status after iteration `done`, which took `seconds`.

        values: The loss terms, "total" and "learning_rate".
        """
        smoothed = seconds if self._smoothed is None else 0.9 * self._smoothed + 0.1 * seconds
        self._smoothed = smoothed
        left = duration((self._iterations - done) * smoothed)
        skipped = ("total", "learning_rate", "grad_norm")
        terms = " ".join(f"{k} {v:.3f}" for k, v in values.items() if k not in skipped)
        return (
            f"{now:%H:%M:%S}  iteration {done}/{self._iterations}  ETA {left}  "
            f"{smoothed:.2f} s/it  loss {values['total']:.3f}  "
            f"lr {values['learning_rate']:.2e}  {terms}"
        )


def duration(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
