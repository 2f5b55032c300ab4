"""What the wheel and the sdist hold."""

import subprocess
import sys
import zipfile
from pathlib import Path

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
