"""The wheel and the sdist: what they hold, and that the wheel runs where it is installed."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from co2net_runtime.version import VERSION

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "co2net_runtime": ROOT / "runtime",
    "co2net": ROOT,
    "co2net_export": ROOT / "export",
    "co2net_benchmarks": ROOT / "benchmarks",
}


def package_files():
    """Every file that a package's folder holds, as its path inside the wheel."""
    return {
        path.relative_to(root).as_posix()
        for package, root in PACKAGES.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, built offline with the setuptools of this environment."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    (sdist,) = out.glob("*.tar.gz")
    return wheel, sdist


def test_wheel_holds_the_packages_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        scripts = wheel.read(entry_points).decode()
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    for command in ("train", "data", "export", "infer", "bench"):
        assert f"co2net-{command} = " in scripts
    assert built[0].name == f"co2net-{VERSION}-py3-none-any.whl"


def test_sdist_builds_the_same_wheel(built, tmp_path):
    # by tar: whether tarfile wants or knows a filter depends on Python's patch release
    subprocess.run(["tar", "-xzf", built[1], "-C", tmp_path], check=True)
    (folder,) = tmp_path.iterdir()
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "setup.py"):
        assert (folder / name).is_file(), name
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, folder],
        check=True,
        capture_output=True,
    )
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built[0]) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Install the wheel into a bare environment beside this one's dependencies; return its bin."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", built[0]],
        check=True,
    )  # fmt: skip
    (site,) = folder.glob("lib/python3*/site-packages")
    # files named .pth in there are not read, so this tree's editable installation stays outside
    (site / "dependencies.pth").write_text(str(Path(np.__file__).parents[1]))
    return folder / "bin"


def run(installed, *words, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [installed / words[0], *words[1:]],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def test_every_command_starts_where_the_wheel_is_installed(installed, tmp_path):
    commands = re.findall(r"^(co2net-\w+) = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        assert run(installed, command, "--version", cwd=tmp_path).endswith(f"{VERSION}\n")


def test_the_installed_wheel_finds_segments(installed, tmp_path):
    where = "import co2net_runtime; print(co2net_runtime.__file__)"
    assert str(installed.parent) in run(installed, "python", "-c", where, cwd=tmp_path)
    features = np.random.default_rng(0).random((40, 16), np.float32)
    np.save(tmp_path / "clip.npy", features)
    model = ROOT / "tests" / "runtime" / "data" / "tiny.onnx"
    run(installed, "co2net-infer", model, "clip.npy", "--out", "found.json", cwd=tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["results"]["clip"]
    assert "ok" in run(installed, "co2net-doctor", model, cwd=tmp_path)


def test_studies_are_not_installed(installed, tmp_path):
    spec = "import importlib.util; print(importlib.util.find_spec('studies'))"
    assert run(installed, "python", "-c", spec, cwd=tmp_path) == "None\n"
