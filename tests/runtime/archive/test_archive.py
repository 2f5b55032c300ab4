"""co2net-archive on a real Ray: what survives kills, and that results are co2net-infer's."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.cli import infer as infer_cli

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture
def features(feature_folder):
    """40 files, 3 of them bad, in two folders that hold equal stems."""
    folder = feature_folder(*range(3, 40))
    (folder / "empty.npy").touch()
    np.save(folder / "wide.npy", np.ones((4, 20), np.float32))
    np.save(folder / "nan.npy", np.full((4, 16), np.nan, np.float32))
    return folder


@pytest.fixture
def expected(tiny_path, features, tmp_path):
    """What co2net-infer --threads 1 --shard says of these files, bit for bit."""
    out = tmp_path / "infer"
    arguments = [tiny_path, features, "--shard", "0/1", "--out", out, "--threads", "1"]
    arguments += ["--backend", "onnxruntime"]
    assert CliRunner().invoke(infer_cli.main, list(map(str, arguments))).exit_code == 1
    lines = [json.loads(line) for line in (out / "shard-000000.jsonl").read_text().splitlines()]
    return {one["video"]: one.get("results", one.get("error")) for one in lines}


OPTIONS = ("--shard-videos", "4", "--actors", "2")


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def shards(folder):
    return sorted(path.name for path in folder.glob("shard-*.jsonl"))


def wait_for(count, folder):
    while not folder.is_dir() or len(shards(folder)) < count:
        time.sleep(0.05)


def actors(driver):
    """Return the process ids of the actors that a driver's Ray started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], stdout=subprocess.PIPE, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.decode().splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}

    def below(pid):
        while pid in parents:
            if pid == driver:
                return True
            pid = parents[pid]
        return False

    return [int(pid) for pid, _, text in rows if "MapWorker" in text and below(int(pid))]


def test_results_are_those_of_infer_and_a_second_run_does_nothing(
    start, finish, read, features, expected, tmp_path
):
    out, figures = tmp_path / "out", tmp_path / "a.prom"
    code, err = finish(start(features, "--out", out, *OPTIONS, "--metrics", figures))
    assert (code, read(out)) == (1, expected), err
    assert "10 of 10 shards, 0 of them already there; 37 videos now, 3 failed" in err
    assert leftovers(out) == []
    assert 'co2net_videos_total{result="failed"} 3.0' in figures.read_text()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    code, err = finish(start(features, "--out", out, *OPTIONS))
    assert code == 1
    assert "10 of them already there; 0 videos now, 3 failed" in err
    assert "nan.npy" in err
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    code, err = finish(start(features, "--out", out, *OPTIONS, "--threads", "2"))
    assert code == 2
    assert "threads is 1, not 2" in err


def test_a_killed_actor_changes_nothing(start, finish, read, features, expected, tmp_path):
    out = tmp_path / "out"
    process = start(features, "--out", out, *OPTIONS, seconds=0.3)
    wait_for(2, out)
    os.kill(actors(process.pid)[0], signal.SIGKILL)
    code, err = finish(process)
    assert (code, read(out)) == (1, expected), err
    assert [name for name in leftovers(out) if "attempt" in name] == []


def test_a_killed_driver_is_gone_on_from_at_once(start, finish, read, features, expected, tmp_path):
    out = tmp_path / "out"
    process = start(features, "--out", out, *OPTIONS, seconds=0.3)
    wait_for(2, out)
    process.kill()
    process.communicate()
    there = len(shards(out))
    code, err = finish(start(features, "--out", out, *OPTIONS))
    assert (code, read(out)) == (1, expected), err
    assert "10 of 10 shards" in err
    skipped = int(err.split(" of them already there")[0].rpartition(", ")[2])
    assert there <= skipped < 10


def test_a_file_on_which_the_process_dies_ends_with_its_name(
    start, finish, read, features, expected, tmp_path
):
    np.save(features / "poison.npy", np.ones((4, 16), np.float32))
    out = tmp_path / "out"
    code, err = finish(start(features, "--out", out, *OPTIONS, seconds=0))
    found = read(out)
    assert code == 1
    assert "poison.npy: the process died on it" in found.pop("poison")
    assert found == expected
    assert "poison.npy: the process died on it" in err


CLUSTER = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from co2net_runtime.commands import archive

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
out = Path(sys.argv[sys.argv.index("--out") + 1])

def lose():
    while len(list(out.glob("shard-*.jsonl"))) < 2:
        time.sleep(0.05)
    cluster.remove_node(second, allow_graceful=False)

threading.Thread(target=lose, daemon=True).start()
sys.argv += ["--address", cluster.address]
archive()
"""


def test_a_node_is_lost(start, finish, read, features, expected, tmp_path):
    out = tmp_path / "out"
    process = start(features, "--out", out, *OPTIONS, seconds=0.3, program=CLUSTER)
    code, err = finish(process)
    assert (code, read(out)) == (1, expected), err
