"""The Docker files, which nothing here can build: what a linter looks for, and that they fit us."""

import re
import shlex
from pathlib import Path

import click
import pytest

import co2net_runtime
from co2net_runtime.cli import doctor as doctor_cli
from co2net_runtime.cli import engine as engine_cli
from co2net_runtime.cli import infer as infer_cli

FOLDER = Path(co2net_runtime.__file__).parents[1] / "docker"
FILES = sorted(FOLDER.glob("*.Dockerfile"))
COMMANDS = {
    "co2net-infer": infer_cli.main,
    "co2net-doctor": doctor_cli.main,
    "co2net-engine": engine_cli.main,
}


def instructions(path):
    """Return (name, arguments) of each instruction, lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def file(request):
    return instructions(request.param)


def arguments(file, name):
    return [rest for one, rest in file if one == name]


def test_there_is_one_for_each_kind_of_machine():
    assert [path.stem for path in FILES] == ["cpu", "gpu", "jetson"]


def test_bases_are_pinned(file):
    for base in arguments(file, "FROM"):
        image, _, tag = base.split()[0].rpartition(":")
        assert image, base
        assert tag != "latest"
        assert re.search(r"\d+\.\d+(\.\d+)?", tag), f"{base}: no version"


def test_packages_leave_no_lists_and_no_cache(file):
    for run in arguments(file, "RUN"):
        if "apt-get install" in run:
            assert "apt-get update" in run
            assert "--no-install-recommends" in run
            assert "--yes" in run
            assert run.rstrip().endswith("rm -rf /var/lib/apt/lists/*")
        for part in run.split("&&"):
            if "pip install" in part or "pip wheel" in part:
                assert "--no-cache-dir" in part
        # the file that was built here: by its name, an index could give another one
        assert not re.search(r"pip install [^&]*\bco2net\[", run)
        assert "sudo" not in run
        assert "|" not in run  # a pipe hides the failure of its left side


def test_nothing_runs_as_root(file):
    names = [name for name, _ in file]
    assert arguments(file, "USER") == ["1000"]  # a number: Kubernetes' runAsNonRoot reads no names
    last_run = len(names) - 1 - names[::-1].index("RUN")
    assert names.index("USER") > last_run
    (added,) = [run for run in arguments(file, "RUN") if "useradd" in run]
    assert "--uid 1000" in added
    assert "/cache /data" in added  # writable for that user


def test_the_user_may_open_a_jetsons_gpu():
    """/dev/nvmap is root:video: outside of the group CUDA finds no GPU."""
    text = (FOLDER / "jetson.Dockerfile").read_text()
    assert "useradd --uid 1000 --groups video" in text
    assert "--group-add video --group-add $(stat" in (FOLDER / "README.md").read_text()


def test_exec_form_and_absolute_folders(file):
    (entry,), (command,) = arguments(file, "ENTRYPOINT"), arguments(file, "CMD")
    assert entry == '["co2net-infer"]'
    assert command == '["--help"]'
    assert all(folder.startswith("/") for folder in arguments(file, "WORKDIR"))
    assert not arguments(file, "ADD")
    assert not arguments(file, "MAINTAINER")
    assert any("CO2NET_CACHE=/cache" in one for one in arguments(file, "ENV"))


def test_extras_are_the_projects(file):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]
    extras = {
        extra
        for run in arguments(file, "RUN")
        for named in re.findall(r"(?:\.whl\)|\.)\[([\w,]+)\]", run)
        for extra in named.split(",")
    }
    assert extras or "l4t" in arguments(file, "FROM")[0]  # JetPack has all that is needed
    assert extras <= set(project["optional-dependencies"])


def test_commands_of_the_readme_exist_with_their_flags():
    """docker run ... IMAGE ARGUMENTS: the arguments are co2net-infer's."""
    text = (FOLDER / "README.md").read_text()
    runs = [
        shlex.split(line.strip().partition("#")[0])
        for line in text.splitlines()
        if line.strip().startswith("docker run")
    ]
    assert len(runs) == 3
    for words in runs:
        at = next(i for i, word in enumerate(words) if word.startswith("co2net:"))
        known = {name for option in infer_cli.main.params for name in option.opts}
        assert not {word for word in words[at + 1 :] if word.startswith("--")} - known
        assert (FOLDER / f"{words[at].partition(':')[2]}.Dockerfile").is_file()
    builds = re.findall(r"docker build -f (\S+) -t co2net:(\w+) \.", text)
    assert [(Path(path).stem, (FOLDER.parents[1] / path).is_file()) for path, _ in builds] == [
        (tag, True) for _, tag in builds
    ]
    for command in re.findall(r"--entrypoint (\S+)", text):
        assert isinstance(COMMANDS[command], click.Command)
