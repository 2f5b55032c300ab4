"""A command that is interrupted while it is imported."""

import signal
import subprocess
import sys

import pytest

from co2net_runtime import commands
from co2net_runtime.cli import infer

SLOW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background ignores it
sys.path.insert(0, sys.argv[1])
sys.argv[0] = "/usr/bin/co2net-slow"
from co2net_runtime.cli.entry import Entry
Entry("slow")()
"""


def test_an_entry_is_its_command():
    assert commands.infer.load() is infer.main


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["try:\n    {}\nexcept BaseException: raise ImportError", "{}"])
def test_interrupted_while_it_is_imported(tmp_path, place, number):
    waiting = "print(1, flush=True); import time; time.sleep(300)"
    (tmp_path / "slow.py").write_text(place.format(waiting))
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "co2net-slow: interrupted\n")
