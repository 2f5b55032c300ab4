"""python -m co2net: all commands."""

import re
from pathlib import Path

from click.testing import CliRunner

from co2net.__main__ import main

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_all_commands_are_told():
    scripts = re.search(r"\[project\.scripts\]\n(.*?)\n\n", PYPROJECT.read_text(), re.DOTALL)
    names = {line.split(" = ")[0] for line in scripts[1].splitlines()}
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == names
