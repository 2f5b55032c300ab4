"""One line of progress on stderr: rewritten in a terminal, repeated now and then in a log."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import click

Item = TypeVar("Item")

TERMINAL_INTERVAL_S = 0.2
LOG_INTERVAL_S = 30.0


class StatusLine:
    """Shows where long work stands; silent if `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._interval = TERMINAL_INTERVAL_S if self._terminal else LOG_INTERVAL_S
        self._shown = time.monotonic()
        self._width = 0

    def show(self, text: str) -> None:
        """Show `text`, unless the last one was shown only just now."""
        now = time.monotonic()
        if self._quiet or now - self._shown < self._interval:
            return
        self._shown = now
        if self._terminal:
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
        """Iterate over `items`, showing how many are done."""
        for done, item in enumerate(items):
            self.show(f"{label}: {done}/{len(items)}")
            yield item


class Pace:
    """Seconds per iteration, smoothed, and the time that is left without evaluations."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._smoothed: float | None = None

    def describe(self, done: int, seconds: float, loss: float) -> str:
        """Return the status after iteration `done`, which took `seconds`."""
        smoothed = seconds if self._smoothed is None else 0.9 * self._smoothed + 0.1 * seconds
        self._smoothed = smoothed
        left = duration((self._iterations - done) * smoothed)
        return (
            f"iteration {done}/{self._iterations}  loss {loss:.3f}  {smoothed:.2f} s/it  ETA {left}"
        )


def duration(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
