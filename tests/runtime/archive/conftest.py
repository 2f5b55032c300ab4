"""A Python with Ray: this one, or that of CO2NET_RAY_PYTHON, since Ray is large."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import co2net_runtime

PROGRAM = "from co2net_runtime.commands import archive; archive()"
# processes of Ray import it before anything else: files that kill, and files that take a while
HOOK = """
import os, signal, time
if os.environ.get("CO2NET_TEST_HOOK"):
    from co2net_runtime.features import FeatureFile

    read = FeatureFile.read

    def hooked(self, *arguments):
        if "poison" in self.video:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ["CO2NET_TEST_HOOK"]))
        return read(self, *arguments)

    FeatureFile.read = hooked
"""


@pytest.fixture(scope="session")
def ray_python():
    python = os.environ.get("CO2NET_RAY_PYTHON") or sys.executable
    if python == sys.executable and importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: pip install 'co2net[ray]', or CO2NET_RAY_PYTHON")
    return python


@pytest.fixture
def start(ray_python, tiny_path, tmp_path):
    """Start co2net-archive; seconds: how long each file takes (and poison files kill)."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)

    def run(*arguments, seconds=None, model=tiny_path, program=PROGRAM):
        runtime = Path(co2net_runtime.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hook'}:{runtime}"}
        if seconds is not None:
            environment["CO2NET_TEST_HOOK"] = str(seconds)
        return subprocess.Popen(
            [ray_python, "-c", program, str(model), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    return run


@pytest.fixture
def finish():
    """Wait for a process; return (exit code, stderr). Nothing may hang."""

    def wait(process):
        _, err = process.communicate(timeout=280)
        return process.returncode, err

    return wait


@pytest.fixture
def read():
    """Return {video: results or error} of a folder of shards; each video comes once."""

    def shards(folder):
        lines = [
            json.loads(line)
            for path in sorted(folder.glob("shard-*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        found = {one["video"]: one.get("results", one.get("error")) for one in lines}
        assert len(found) == len(lines)
        return found

    return shards
