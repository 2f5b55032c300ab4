"""README tells the truth: its commands run, or stand in blocks marked for other machines.

A fenced `sh` block may be preceded by a comment `<!-- needs: gpu -->` (or jetson, docker); then
only its flags are checked against the command lines. All other blocks run: the walk through the
chain is `make demo`, recipe for recipe, and the rest is run here, in README's order.
"""

import importlib.metadata
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from readme_files import prepare

from co2net_runtime.cli.entry import Entry

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:<!-- needs: (?P<needs>[\w, ]+) -->\n)?```sh\n(?P<body>.*?)```", re.DOTALL)
SET_UP = ("make ", "pip ", "git ", "cd ", "python3 -m venv", ".")


def blocks():
    """Yield (what the block needs or None, [command, ...]) for each sh block of README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        lines = match["body"].replace("\\\n", " ").splitlines()
        commands = [line.partition(" # ")[0].strip() for line in lines]
        yield match["needs"], [re.sub(r"\s+", " ", c) for c in commands if c and c[0] != "#"]


def demo_commands():
    """Return the commands of `make demo` as a user would type them."""
    shown = subprocess.run(
        ["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = shown.stdout.replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", line.strip()) for line in lines if line.startswith("co2net-")]


def entry_point(command):
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=command)
    found = script.load()
    return found.load() if isinstance(found, Entry) else found


def test_the_walk_through_is_the_demo():
    here = [c for needs, commands in blocks() if needs is None for c in commands]
    missing = [command for command in demo_commands() if command not in here]
    assert not missing


def test_marked_blocks_name_what_the_command_lines_know():
    checked = 0
    for needs, commands in blocks():
        for command in commands:
            if needs is None or not command.startswith("co2net-"):
                continue
            program, *words = shlex.split(command)
            parser = entry_point(program)
            while isinstance(parser, click.Group):
                name = words.pop(0)
                found = parser.get_command(click.Context(parser), name)
                assert found is not None, command
                parser = found
            known = {flag for p in parser.params for flag in (*p.opts, *p.secondary_opts)}
            for word in words:
                if word.startswith("-"):
                    assert word.partition("=")[0] in known, command
            checked += 1
    assert checked


@pytest.fixture(scope="module")
def playground(tmp_path_factory):
    """A folder with the files that README's examples name, small."""

    folder = tmp_path_factory.mktemp("readme")
    prepare(folder)
    return folder


def test_the_other_commands_run(playground):
    demo = set(demo_commands())
    scripts = str(Path(sys.executable).parent)
    ran = 0
    for needs, commands in blocks():
        for command in commands:
            if needs is not None or command in demo or command.startswith(SET_UP):
                continue
            done = subprocess.run(
                ["bash", "-c", f'PATH="{scripts}:$PATH"; {command}'],
                cwd=playground,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            ran += 1
    assert ran
