"""What all command lines share: one-line errors and exit codes, progress on stderr."""

import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from co2net_runtime.errors import Co2netError
from co2net_runtime.version import VERSION

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

Item = TypeVar("Item")

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE_FAILED = 3
EXIT_INTERRUPTED = 130


class _OneLineErrors(click.Command):
    """Turns every foreseen error into one line on stderr and the exit code of the design."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command; in standalone mode (the default) it ends in SystemExit."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        name = prog_name or self.name or "co2net"
        try:
            with _terminated_as_interrupted():
                code = super().main(args, prog_name, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(EXIT_USAGE)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else name
            _fail(command, f"{error.format_message()} (see '{command} --help')")
        except click.ClickException as error:
            _fail(name, error.format_message())
        except (click.Abort, KeyboardInterrupt):
            click.echo(f"{name}: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except Co2netError as error:
            _fail(name, str(error))
        except BrokenPipeError:
            # the reader of our stdout has gone (a pager, head): that is its good right
            sys.stderr.close()
            sys.exit(EXIT_SOME_FAILED)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(name, f"{where}{error.strerror or error}")
        sys.exit(code if isinstance(code, int) and not isinstance(code, bool) else 0)


class Command(_OneLineErrors):
    """A click command with one-line errors."""


class Group(_OneLineErrors, click.Group):
    """A click group with one-line errors; its commands are Commands."""

    command_class = Command


version_option = click.version_option(VERSION, "--version", package_name="co2net")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and notes on stderr.")


def note(text: str, *, quiet: bool = False) -> None:
    """Print a line on stderr, where progress and logs go."""
    if not quiet:
        click.echo(text, err=True)


def progress(
    items: Iterable[Item], label: str, *, length: int | None = None, quiet: bool = False
) -> "ProgressBar[Item]":
    """Return a context manager whose value iterates `items` with a progress bar and ETA on stderr.

    Its `update(steps)` advances the bar without iterating.

    Nothing is drawn where stderr is no terminal.
    """
    hidden = quiet or not sys.stderr.isatty()
    return click.progressbar(
        items, length=length, label=label, show_eta=True, show_pos=True, hidden=hidden,
        file=sys.stderr,
    )  # fmt: skip


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


_HANDLER = _StderrHandler()


def log_to_stderr(*, quiet: bool = False) -> None:
    """Print what the library logs on stderr: warnings always, notes unless `quiet`."""
    logger = logging.getLogger("co2net_runtime")
    logger.setLevel(logging.INFO)
    _HANDLER.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(_HANDLER)  # adding it again changes nothing


class Interruption:
    """Whether the user wants the work to end after the current item."""

    requested = False


@contextmanager
def finish_on_interrupt(item: str = "file") -> Iterator[Interruption]:
    """Let the first Ctrl-C (or SIGTERM) ask for an orderly end; the second one ends at once.

    item: what is finished first, in words. Outside the main thread, where Python takes no
    signals, this does nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True
        note(f"finishing the current {item}; once more to stop at once")

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: children stop, unfinished files go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _fail(name: str, text: str) -> None:
    click.echo(f"{name}: error: {' '.join(text.split())}", err=True)
    sys.exit(EXIT_USAGE)
