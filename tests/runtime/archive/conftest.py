"""Commands on a real Ray: on this machine alone, and on a cluster of two nodes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import co2net_runtime
from co2net_runtime.cli import infer as infer_cli

PROGRAM = "from co2net_runtime.commands import archive; archive()"
# processes of Ray import it before anything else: files that kill, and files that take a while
HOOK = """
import os, signal, time
from co2net_runtime.archive import inputs
from co2net_runtime.features import FeatureFile

read = FeatureFile.read

def hooked(self, *arguments):
    if "poison" in self.video:
        os.kill(os.getpid(), signal.SIGKILL)
    if "slow" in self.video:
        time.sleep(0.3)
    return read(self, *arguments)

FeatureFile.read = hooked
fetch = inputs.fetch

def hooked_fetch(name, *arguments):
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    return fetch(name, *arguments)

inputs.fetch = hooked_fetch
"""
# prints the address; loses its second node when it is told to
CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
cluster.shutdown()
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """The variables of every process that uses Ray."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'co2net[ray]'")
    if sys.platform != "linux":
        pytest.skip("looks for processes in /proc")
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HOOK)
    runtime = Path(co2net_runtime.__file__).parents[1]
    return {
        **os.environ,
        "PYTHONPATH": f"{folder}:{runtime}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,  # else Ray writes one into the home folder
    }


@pytest.fixture(scope="session")
def spawn(environment):
    def run(program, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    return run


@pytest.fixture(scope="session")
def cluster(spawn):
    """A cluster of two nodes with a CPU each: its process and its address."""
    process = spawn(CLUSTER)
    address = process.stdout.readline().strip()
    assert address, process.communicate(timeout=60)[1]
    yield process, address
    process.communicate(timeout=100)


@pytest.fixture
def start(spawn, tiny_path):
    """Start co2net-archive."""

    def run(*arguments, model=tiny_path):
        return spawn(PROGRAM, model, *arguments, "--backend", "onnxruntime")

    return run


@pytest.fixture
def start_there(start, cluster):
    """Start co2net-archive on the cluster, with an actor for each of its CPUs."""

    def run(*arguments):
        return start(*arguments, "--shard-videos", "4", "--actors", "2", "--address", cluster[1])

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


@pytest.fixture
def write_archive(videos, tmp_path):
    """Write a folder of `count` files, 4 of them bad."""

    def write(count, name="video"):
        return _write_archive(tmp_path / "features", videos, count, name)

    return write


def _write_archive(folder, videos, count, name):
    folder.mkdir()
    for index, features in enumerate(videos(*(3 + index % 40 for index in range(count - 4)))):
        np.save(folder / f"{name}_{index:04d}.npy", features)
    (folder / "empty.npy").touch()
    np.save(folder / "wide.npy", np.ones((4, 20), np.float32))
    np.save(folder / "nan.npy", np.full((4, 16), np.nan, np.float32))
    whole = (folder / f"{name}_0000.npy").read_bytes()
    (folder / "cut.npy").write_bytes(whole[:-20])
    return folder


@pytest.fixture
def expected(tiny_path, tmp_path):
    """What co2net-infer --threads 1 --shard says of a folder, bit for bit."""

    def infer(features):
        out = tmp_path / "infer"
        arguments = [tiny_path, features, "--shard", "0/1", "--out", out, "--threads", "1"]
        arguments += ["--backend", "onnxruntime"]
        assert CliRunner().invoke(infer_cli.main, list(map(str, arguments))).exit_code == 1
        lines = [json.loads(line) for line in (out / "shard-000000.jsonl").read_text().splitlines()]
        return {one["video"]: one.get("results", one.get("error")) for one in lines}

    return infer


@pytest.fixture
def features(write_archive):
    """40 files that take 0.3 s each."""
    return write_archive(40, "slow")


@pytest.fixture
def wait_for():
    """Wait until so many shards are there."""
    return _wait_for


def _wait_for(count, folder, process):
    while not folder.is_dir() or len(list(folder.glob("shard-*.jsonl"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
