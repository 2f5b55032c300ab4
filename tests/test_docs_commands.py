"""README and the pages of docs print commands that run.

A fenced `sh` or `python` block may be preceded by a comment that says what it needs, as in
`<!-- needs: gpu -->` (or camera, service, hours, download); then only its flags are checked against
the command lines. The commands of all other blocks run, page by page and in the page's order, in a
folder with small files of the names that the pages use. `make` and `pip` are not run.
"""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from command_server import command_server, console_scripts
from docs_files import prepare

from co2net_runtime.cli.entry import Entry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>[\w, ]+) -->\n)?```(?P<kind>sh|bash|python)\n(?P<body>.*?)```",
    re.DOTALL,
)
SET_UP = ("make", "pip", "git", "cd", "python3 -m venv", ".")
WRITERS = ("co2net-export", "co2net-backbone", "co2net-extract", "co2net-train")
GATE_FAILED = 3


def blocks(page):
    """Yield (what it needs or None, [command, ...]) for each sh or python block of a page."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["kind"] == "python":
            yield match["needs"], [f"{sys.executable} -W error -c {shlex.quote(match['body'])}"]
            continue
        lines = match["body"].replace("\\\n", " ").splitlines()
        commands = [line.partition(" # ")[0].strip() for line in lines]
        yield match["needs"], [re.sub(r"\s+", " ", c) for c in commands if c and c[0] != "#"]


def runnable(page):
    return [
        command
        for needs, commands in blocks(page)
        if needs is None
        for command in commands
        if command.split()[0] not in SET_UP and command not in demo_commands()
    ]


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


def check_flags(command):
    """Fail where `command` gives a flag that its parser does not know."""
    program, *words = shlex.split(command)
    parser = entry_point(program)
    while isinstance(parser, click.Group):
        name = words.pop(0)
        found = parser.get_command(click.Context(parser), name)
        assert found is not None, command
        parser = found
    if "--live" in words and program == "co2net-infer":
        from co2net_runtime.cli.live import live as parser
    known = {flag for p in parser.params for flag in (*p.opts, *p.secondary_opts)}
    known |= {"--live", "--help"}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known, command


def test_the_walk_through_is_the_demo():
    page = ROOT / "docs" / "demo.md"
    here = [c for needs, commands in blocks(page) if needs is None for c in commands]
    assert [command for command in demo_commands() if command not in here] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_flag_exists(page):
    for _, commands in blocks(page):
        for command in commands:
            for part in re.split(r" \| | && ", command):
                if part.startswith("co2net-"):
                    check_flags(part)


def all_commands(command):
    if isinstance(command, click.Group):
        names = command.list_commands(click.Context(command))
        for child in names:
            yield from all_commands(command.get_command(click.Context(command), child))
    else:
        yield command


@pytest.mark.parametrize("name", console_scripts())
def test_help_pages_group_options_that_exist(name):
    for command in all_commands(entry_point(name)):
        known = {flag for parameter in command.params for flag in parameter.opts}
        for heading, flags in command.option_groups.items():  # shared ones name what some lack
            assert known & set(flags.split()), (command.name, heading)


@pytest.fixture(scope="module")
def playground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def commands():
    """A folder of quick stand-ins for the commands; its path must fit into a socket's address."""
    with tempfile.TemporaryDirectory(prefix="co2net-") as folder, command_server(Path(folder)):
        yield folder


@pytest.fixture(scope="module")
def outcomes(request, playground, commands, tmp_path_factory):
    """Of each page whose test was selected, what comes of its commands; pages share the cores."""
    selected = [item.callspec.params["page"] for item in request.session.items if is_run(item)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        # the longest pages first, so that none is left alone at the end
        selected.sort(key=lambda page: -len(runnable(page)))
        yield {
            page: pool.submit(
                run_page, page, playground, commands, tmp_path_factory.mktemp(page.stem)
            )
            for page in selected
        }
        pool.shutdown(cancel_futures=True)


def is_run(item):
    return getattr(item, "originalname", None) == "test_the_commands_run"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=lambda page: page.stem)
def test_the_commands_run(page, outcomes):
    assert outcomes[page].result() is None


def run_page(page, playground, commands, folder):
    """Run a page's commands in its order; return what the first failing one said, or None."""
    folder = folder / "here"
    shutil.copytree(playground, folder)
    leave_out_what_is_made(folder, runnable(page))
    for command in runnable(page):
        done = subprocess.run(
            ["bash", "-c", f'set -o pipefail; PATH="{commands}:$PATH"; {shortened(command)}'],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,  # names a command that waits for something the page should say it needs
        )
        # a tiny model of random weights need not hold the bounds of lower precisions
        allowed = {0, GATE_FAILED} if command.startswith("co2net-bench parity") else {0}
        if done.returncode not in allowed:
            return f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return None


def leave_out_what_is_made(folder, commands):
    """Remove the prepared files that the page's own commands write."""
    for words in map(shlex.split, commands):
        if words[0] not in WRITERS or "--overwrite" in words or "--resume" in words:
            continue
        if "--out" in words:
            made = folder / words[words.index("--out") + 1]
        else:
            made = folder / words[2]
        if made.is_dir():
            shutil.rmtree(made)
        elif made.suffix == ".onnx":
            for each in made.parent.glob(f"{made.stem}*.onnx"):
                each.unlink()


def shortened(command):
    """Return the command with training cut short and without gates that random weights miss."""
    if command.startswith("co2net-export ") and "--precision" in command:
        return f"{command} --no-gate"
    if not command.startswith("co2net-train ") or "--print-config" in command:
        return command
    if "--resume" in command:
        return f"{command} --set max_snippets=20"
    tiny = ("iterations=2", "max_snippets=20", "model.embed_dim=16", "model.attention_dim=4")
    return " ".join([command, *(f"--set {setting}" for setting in tiny)])
