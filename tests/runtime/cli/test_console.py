import os
import signal
import time

import click
import pytest
from click.testing import CliRunner

from co2net_runtime.cli.console import Command, Group
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError


@click.command("tool", cls=Command)
@click.argument("what")
@click.option("--count", type=int)
def tool(what, count):
    errors = {
        "input": InputError("a.npy: expected\nthis"),
        "backend": BackendError("the engine refuses"),
        "missing": MissingDependencyError("thing", "extra", "drawing"),
        "interrupt": KeyboardInterrupt(),
        "disk": OSError(28, "No space left on device", "out.json"),
        "memory": MemoryError("Unable to allocate 7. TiB"),
        "bug": ZeroDivisionError("a bug"),
    }
    if what in errors:
        raise errors[what]
    if what == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if what == "import":  # of a module in C, which turns the exception into its own
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt:
            raise MissingDependencyError("thing", "extra", "drawing") from None
    click.echo(what)
    click.get_current_context().exit(1 if what == "some" else 0)


@click.group("suite", cls=Group)
def suite():
    pass


suite.add_command(tool)


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("input", 2, "tool: error: a.npy: expected this\n"),
        ("backend", 2, "tool: error: the engine refuses\n"),
        (
            "missing",
            2,
            "tool: error: drawing needs thing, which is not installed: "
            "pip install 'co2net[extra]'\n",
        ),
        ("interrupt", 130, "tool: interrupted\n"),
        # what is unfinished is removed on the way out
        ("memory", 2, "tool: error: out of memory: Unable to allocate 7. TiB\n"),
        ("terminate", 130, "tool: interrupted\n"),
        ("import", 130, "tool: interrupted\n"),
        ("disk", 2, "tool: error: out.json: No space left on device\n"),
        ("fine", 0, ""),
        ("some", 1, ""),
    ],
)
def test_one_line_and_an_exit_code(what, code, line):
    result = CliRunner().invoke(tool, [what])
    assert (result.exit_code, result.stderr.lstrip("\n")) == (code, line)


def test_a_bug_keeps_its_traceback():
    assert isinstance(CliRunner().invoke(tool, ["bug"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "tool: error: Missing argument 'WHAT'. (see 'tool --help')\n"),
        (
            ["x", "--count", "many"],
            "tool: error: Invalid value for '--count': 'many' is not a valid integer. "
            "(see 'tool --help')\n",
        ),
    ],
)
def test_usage_errors_are_one_line_too(arguments, line):
    result = CliRunner().invoke(tool, arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)


def test_a_group_names_its_command():
    result = CliRunner().invoke(suite, ["tool"])
    assert result.exit_code == 2
    assert result.stderr == (
        "suite tool: error: Missing argument 'WHAT'. (see 'suite tool --help')\n"
    )
    assert CliRunner().invoke(suite, ["tool", "input"]).stderr.startswith("suite: error: a.npy")
    assert CliRunner().invoke(suite, []).exit_code == 2


def test_options_stand_under_their_headings():
    @click.command(cls=Command, option_groups={"Engine": "--device --threads", "Empty": "--none"})
    @click.option("--threads", help="How many.")
    @click.option("--out", help="Where to.")
    @click.option("--device", help="On what.")
    def tool():
        pass

    shown = CliRunner().invoke(tool, ["--help"]).output
    options, engine = shown.split("Options:")[1].split("Engine:")
    assert "--out" in options
    assert "--help" in options
    assert " ".join(engine.split()) == "--threads TEXT How many. --device TEXT On what."


def test_nan_is_within_no_range():
    @click.command(cls=Command)
    @click.option("--seconds", type=click.FloatRange(min=0))
    def wait(seconds):
        raise AssertionError(seconds)

    done = CliRunner().invoke(wait, ["--seconds", "nan"])
    assert done.exit_code == 2
    assert "Invalid value for '--seconds': nan: expected a number" in done.stderr


@pytest.mark.parametrize("value", ["99999999999", "-99999999999", "9" * 500])
def test_a_number_beyond_all_bounds_is_refused(value):
    @click.command(cls=Command)
    @click.option("--count", "counts", type=int, multiple=True)
    def tool(counts):
        raise AssertionError(counts)

    done = CliRunner().invoke(tool, ["--count", "1", "--count", value])
    assert done.exit_code == 2
    assert "expected a number of at most 4294967295" in done.stderr
    assert len(done.stderr) < 200


def test_a_long_line_loses_its_middle():
    @click.command(cls=Command)
    def tool():
        raise InputError(f"{'x' * 100_000}: cannot be used {'y ' * 100_000}")

    done = CliRunner().invoke(tool)
    assert done.exit_code == 2
    assert done.stderr.startswith("tool: error: xxx")
    assert "...xxx" in done.stderr
    assert ": cannot be used y y" in done.stderr
    assert len(done.stderr) < 5000


def test_memory_that_torch_does_not_get_is_one_line():
    @click.command(cls=Command)
    def tool():
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried 9 bytes")

    done = CliRunner().invoke(tool)
    assert done.exit_code == 2
    assert done.stderr.startswith("tool: error: out of memory: DefaultCPUAllocator: can't")
