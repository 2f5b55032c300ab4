"""The YAML of docs/triton.md: commands that exist, with options that they take."""

import re
from pathlib import Path

import pytest

from co2net_runtime.cli.triton_probe import main as probe

PAGE = Path(__file__).parents[3] / "docs" / "triton.md"


def command_lists(part):
    """Yield every list of words that holds a command of ours or the server."""
    if isinstance(part, dict):
        part = list(part.values())
    elif not isinstance(part, list):
        return
    words = [word for word in part if isinstance(word, str)]
    if {"tritonserver", "co2net-triton-probe"} & set(words):
        yield words
    for child in part:
        yield from command_lists(child)


@pytest.fixture(scope="module")
def commands():
    yaml = pytest.importorskip("yaml")
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = [words for block in blocks for words in command_lists(yaml.safe_load(block))]
    assert len(found) == 4
    return found


def test_the_probes_are_commands(commands):
    given = [words[words.index("co2net-triton-probe") + 1 :] for words in commands
             if "co2net-triton-probe" in words]  # fmt: skip
    assert len(given) == 2
    for words in given:
        assert probe.make_context("co2net-triton-probe", words).params["timeout_s"] == 20


def test_the_server_has_these_options(commands, triton_home):
    known = set(re.findall(r"--[\w-]+", triton_home.server_help()))
    used = {
        word.partition("=")[0] for words in commands if "tritonserver" in words
        for word in words[1:]
    }  # fmt: skip
    used |= set(re.findall(r"`(--exit-\S+)`", PAGE.read_text()))
    assert len(used) == 4
    assert used <= known
