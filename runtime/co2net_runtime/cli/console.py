"""Shared by all command lines: one-line errors, exit codes, signals, progress on stderr."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from co2net_runtime.cli.entry import leave
from co2net_runtime.errors import Co2netError, DeviceLostError, GateError
from co2net_runtime.version import VERSION

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

Item = TypeVar("Item")

# more than any count, size, seed (2^32 - 1) or number of seconds
_LARGEST = 2**32 - 1
# of a line on stderr, and of one word in it: a path may have 4096 bytes
_LONGEST_LINE = 4000
_LONGEST_WORD = 1000

_OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory")

EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE_FAILED = 3
EXIT_DEVICE_LOST = 4
EXIT_INTERRUPTED = 130


class _OneLineErrors(click.Command):
    """Turns every foreseen error into one line on stderr and an exit code."""

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
        _open_standard_streams()
        try:
            with _as_interrupt():
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
            _log("error", f"{name}: interrupted")
            sys.exit(EXIT_INTERRUPTED)
        except GateError as error:
            _fail(name, str(error), EXIT_GATE_FAILED)
        except DeviceLostError as error:
            _fail(name, str(error), EXIT_DEVICE_LOST)
        except Co2netError as error:
            _fail(name, str(error))
        except BrokenPipeError:
            # stdout was closed early (e.g. by head): not an error
            _discard_stdout()
            sys.exit(EXIT_SOME_FAILED)
        except MemoryError as error:
            _fail(name, f"out of memory: {error}" if str(error) else "out of memory")
        except RuntimeError as error:  # torch's allocators raise these
            if not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                raise
            _fail(name, f"out of memory: {one_line(str(error))}")
        except OSError as error:
            _discard_stdout()  # a full disk may be behind it: do not try again at the exit
            where = f"{error.filename}: " if error.filename else ""
            _fail(name, f"{where}{error.strerror or error}")
        sys.exit(code if isinstance(code, int) and not isinstance(code, bool) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command unless a number is none ("nan"), or larger than anything can be."""
        for parameter in self.params:
            value = ctx.params.get(str(parameter.name))
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, (int, float)) and not abs(one) <= _LARGEST:
                    said = f"{one:g}" if isinstance(one, float) else clipped(str(one), 30)
                    raise click.BadParameter(
                        f"{said}: expected a number of at most {_LARGEST}", ctx, parameter
                    )
        return super().invoke(ctx)


OptionGroups = Mapping[str, str]  # heading on the help page -> the flags under it


class Command(_OneLineErrors):
    """A click command with one-line errors, and headings over groups of its options.

    Example:
        @click.command("co2net-x", cls=Command, option_groups={"Engine": "--device --threads"})
    """

    def __init__(
        self, *args: Any, option_groups: OptionGroups | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.option_groups = option_groups or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under "Options", then those of each group under its heading."""
        rows: dict[str, list[tuple[str, str]]] = {"Options": []}
        rows.update({heading: [] for heading in self.option_groups})
        heading_of = {
            flag: name for name, flags in self.option_groups.items() for flag in flags.split()
        }
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and record[1]:  # arguments are told in the text
                rows[heading_of.get(parameter.opts[0], "Options")].append(record)
        for heading, found in rows.items():
            if found:
                with formatter.section(heading):
                    formatter.write_dl(found)


class Group(_OneLineErrors, click.Group):
    """A click group with one-line errors; its commands are Commands."""

    command_class = Command


version_option = click.version_option(VERSION, "--version", package_name="co2net")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and notes on stderr.")


metrics_option = click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    metavar="FILE.prom",
    help="Write figures for Prometheus' textfile collector, every 10 seconds and at the end.",
)


class _Log:
    """How lines on stderr look; one for the process, whose stderr is one."""

    json = False


def _choose_format(_context: click.Context, _option: click.Parameter, value: str) -> None:
    _Log.json = value == "json"


log_format_option = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    is_eager=True,
    expose_value=False,
    callback=_choose_format,
    help="Lines on stderr; json: objects with time, level, text.",
)


def clipped(text: str, longest: int) -> str:
    """Return the text with its middle left out where it is longer."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def _log(level: str, text: str) -> None:
    if len(text) > _LONGEST_WORD:  # what a file or an argument holds may be of any length
        words = (clipped(word, _LONGEST_WORD) for word in text.split(" "))
        text = clipped(" ".join(words), _LONGEST_LINE)
    if _Log.json:
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        text = json.dumps({"time": time.replace("+00:00", "Z"), "level": level, "text": text})
    click.echo(text, err=True)


def note(text: str, *, quiet: bool = False) -> None:
    """Print a line on stderr, where progress and logs go."""
    if not quiet:
        _log("info", text)


def progress(
    items: Iterable[Item], label: str, *, length: int | None = None, quiet: bool = False
) -> "ProgressBar[Item]":
    """Return a context manager whose value iterates `items` with a progress bar and ETA on stderr.

    Its `update(steps)` advances the bar without iterating. Nothing is drawn if stderr is not a
    terminal.
    """
    hidden = quiet or _Log.json or not sys.stderr.isatty()
    return click.progressbar(
        items, length=length, label=label, show_eta=True, show_pos=True, hidden=hidden,
        file=sys.stderr,
    )  # fmt: skip


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log(record.levelname.lower(), self.format(record))


_HANDLER = _StderrHandler()


def log_to_stderr(*, quiet: bool = False) -> None:
    """Print the log of the library on stderr: warnings always, notes unless `quiet`."""
    logger = logging.getLogger("co2net_runtime")
    logger.setLevel(logging.INFO)
    _HANDLER.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(_HANDLER)  # adding it again changes nothing


def one_line(text: str) -> str:
    """Return the text as one line: a name with a newline in it must not forge another message."""
    flat = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)


def report_error(name: str, text: str) -> None:
    """Print an error of the command `name` on stderr, as one line."""
    _log("error", f"{name}: error: {one_line(text)}")


@contextmanager
def finish_on_interrupt(item: str = "file") -> Iterator[threading.Event]:
    """Let the first Ctrl-C or SIGTERM ask for an orderly end; the second one ends at once.

    Args:
        item: The thing that is finished first, in words.

    Yields:
        An event that the first signal sets. Outside the main thread, where Python takes no signals,
        nothing sets it.
    """
    requested = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()
        note(f"finishing the current {item}; once more to stop at once")

    with _on_signals((signal.SIGINT, signal.SIGTERM), handle):
        yield requested


@contextmanager
def _on_signals(
    numbers: tuple[int, ...], handle: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Let `handle` take these signals for a while; nothing changes outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def _as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: children stop, temporary files are removed.

    In the middle of an import either comes out as any error, such as a module that is not there:
    that is an interrupt, too.
    """
    came = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        came.set()
        raise KeyboardInterrupt

    # else our parent has chosen what Ctrl-C does, as nohup does
    ours = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, leave)
    with _on_signals((signal.SIGTERM, *((signal.SIGINT,) if ours else ())), handle):
        try:
            yield
        except Exception as error:
            if came.is_set():
                raise KeyboardInterrupt from error
            raise


def _open_standard_streams() -> None:
    """Open closed standard streams on the null device; else a file would take their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # takes the lowest number that is free; children inherit it, or they lack it in turn
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for the whole run


def _discard_stdout() -> None:
    """Discard what stdout still holds when Python flushes it at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(name: str, text: str, code: int = EXIT_USAGE) -> NoReturn:
    report_error(name, text)
    sys.exit(code)
