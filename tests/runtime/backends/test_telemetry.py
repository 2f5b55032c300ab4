"""Engines must not call home: nothing is written under the home folder, no host is sought."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import co2net_runtime

PACKAGE = Path(co2net_runtime.__file__).parent


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request):
    pytest.importorskip(request.param)
    return request.param


def infer(backend, tiny_path, feature_folder, tmp_path, *before):
    """Run co2net-infer with a home folder that nobody has used; return that folder."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("XDG_") and name != "ORT_DISABLE_TELEMETRY"
    }
    # where the user lets us keep compiled models
    cache = str(tmp_path / "cache")
    environment |= {"HOME": str(home), "PYTHONPATH": str(PACKAGE.parent), "CO2NET_CACHE": cache}
    program = "from co2net_runtime.cli.infer import main; main()"
    arguments = [str(tiny_path), str(feature_folder(9)), "--device", "cpu", "--backend", backend]
    done = subprocess.run(
        [*before, sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return home


def test_infer_writes_nothing_under_the_home_folder(backend, tiny_path, feature_folder, tmp_path):
    home = infer(backend, tiny_path, feature_folder, tmp_path)
    assert [str(path) for path in home.rglob("*")] == []


def test_infer_opens_no_connection(backend, tiny_path, feature_folder, tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "calls"
    traced = subprocess.run(
        [strace, "-f", "-o", str(log), sys.executable, "-c", ""], check=False, capture_output=True
    )
    if traced.returncode:
        pytest.skip("strace may not trace here")
    calls = "trace=socket,connect,sendto,sendmsg,sendmmsg"
    infer(backend, tiny_path, feature_folder, tmp_path, strace, "-f", "-e", calls, "-o", str(log))
    assert re.findall(r".*AF_INET.*", log.read_text()) == []


def test_only_one_place_imports_it():
    pattern = re.compile(r"^\s*(import onnxruntime\b|from onnxruntime import)", re.MULTILINE)
    found = [path.name for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text())]
    assert found == []
