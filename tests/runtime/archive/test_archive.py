"""co2net-archive on a real Ray: what survives kills, and that results are co2net-infer's."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.cli import infer as infer_cli

OPTIONS = ("--shard-videos", "4", "--actors", "2")  # as many actors as the cluster has CPUs


def write_archive(folder, videos, count, name="video"):
    """Write `count` files, 4 of them bad."""
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
def features(videos, tmp_path):
    """40 files that take 0.3 s each."""
    return write_archive(tmp_path / "features", videos, 40, "slow")


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def wait_for(count, folder, process):
    while not folder.is_dir() or len(list(folder.glob("shard-*.jsonl"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def actors():
    """Return the process ids of all actors that compute shards."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"MapWorker(MapBatches(ShardWorker))" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_thousand_videos_on_this_machine(start, finish, read, videos, expected, tmp_path):
    features = write_archive(tmp_path / "features", videos, 1000)
    out, figures = tmp_path / "out", tmp_path / "a.prom"
    arguments = (features, "--out", out, "--shard-videos", "20")
    code, err = finish(start(*arguments, "--metrics", figures))
    wanted = expected(features)
    assert (code, len(wanted), read(out)) == (1, 1000, wanted), err
    assert "50 of 50 shards, 0 of them already there; 996 videos now, 4 failed" in err
    assert leftovers(out) == []
    assert 'co2net_videos_total{result="failed"} 4.0' in figures.read_text()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    code, err = finish(start(*arguments))
    assert code == 1
    assert "50 of them already there; 0 videos now, 4 failed" in err
    assert "nan.npy" in err
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    code, err = finish(start(*arguments, "--threads", "2"))
    assert code == 2
    assert "threads is 1, not 2" in err


def test_a_killed_actor_changes_nothing(start, finish, read, cluster, features, expected, tmp_path):
    out = tmp_path / "out"
    process = start(features, "--out", out, *OPTIONS, "--address", cluster[1])
    wait_for(3, out, process)
    os.kill(actors()[0], signal.SIGKILL)
    code, err = finish(process)
    assert (code, read(out)) == (1, expected(features)), err
    assert [name for name in leftovers(out) if "attempt" in name] == []


def test_a_killed_driver_is_gone_on_from_at_once(
    start, finish, read, cluster, features, expected, tmp_path
):
    out = tmp_path / "out"
    arguments = (features, "--out", out, *OPTIONS, "--address", cluster[1])
    process = start(*arguments)
    wait_for(3, out, process)
    process.kill()
    process.communicate()
    there = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.jsonl")}
    code, err = finish(start(*arguments))
    assert (code, read(out)) == (1, expected(features)), err
    assert "10 of 10 shards" in err
    skipped = int(err.split(" of them already there")[0].rpartition(", ")[2])
    assert len(there) <= skipped < 10
    assert all(path.stat().st_mtime_ns == changed for path, changed in there.items())


def test_a_file_on_which_the_process_dies_ends_with_its_name(
    start, finish, read, cluster, videos, expected, tmp_path
):
    features = write_archive(tmp_path / "features", videos, 40)
    wanted = expected(features)
    np.save(features / "poison.npy", np.ones((4, 16), np.float32))
    out = tmp_path / "out"
    code, err = finish(start(features, "--out", out, *OPTIONS, "--address", cluster[1]))
    found = read(out)
    assert code == 1
    assert "poison.npy: the process died on it" in found.pop("poison")
    assert found == wanted
    assert "poison.npy: the process died on it" in err


def test_a_node_is_lost(start, finish, read, cluster, features, expected, tmp_path):
    """The last one that may use the cluster."""
    out = tmp_path / "out"
    process = start(features, "--out", out, *OPTIONS, "--address", cluster[1])
    wait_for(3, out, process)
    cluster[0].stdin.write("lose a node\n")
    cluster[0].stdin.flush()
    code, err = finish(process)
    assert (code, read(out)) == (1, expected(features)), err
