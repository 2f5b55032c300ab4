"""co2net-archive on a real Ray: what survives kills, and that results are co2net-infer's."""

import json
import os
import signal
from pathlib import Path

import numpy as np


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


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


def test_a_thousand_videos_on_this_machine(start, finish, read, write_archive, expected, tmp_path):
    features = write_archive(1000)
    out, figures = tmp_path / "out", tmp_path / "a.prom"
    arguments = (features, "--out", out, "--shard-videos", "20")
    code, err = finish(start(*arguments, "--metrics", figures, "--log-format", "json"))
    err = "\n".join(json.loads(line)["text"] for line in err.splitlines())
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


def test_a_killed_actor_changes_nothing(
    start_there, finish, read, wait_for, features, expected, tmp_path
):
    out = tmp_path / "out"
    process = start_there(features, "--out", out)
    wait_for(3, out, process)
    os.kill(actors()[0], signal.SIGKILL)
    code, err = finish(process)
    assert (code, read(out)) == (1, expected(features)), err
    assert [name for name in leftovers(out) if "attempt" in name] == []


def test_a_killed_driver_is_gone_on_from_at_once(
    start_there, finish, read, wait_for, features, expected, tmp_path
):
    out = tmp_path / "out"
    arguments = (features, "--out", out)
    process = start_there(*arguments)
    wait_for(3, out, process)
    process.kill()
    process.communicate()
    there = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.jsonl")}
    code, err = finish(start_there(*arguments))
    assert (code, read(out)) == (1, expected(features)), err
    assert "10 of 10 shards" in err
    skipped = int(err.split(" of them already there")[0].rpartition(", ")[2])
    assert len(there) <= skipped < 10
    assert all(path.stat().st_mtime_ns == changed for path, changed in there.items())


def test_a_file_on_which_the_process_dies_ends_with_its_name(
    start_there, finish, read, write_archive, expected, tmp_path
):
    features = write_archive(40)
    wanted = expected(features)
    np.save(features / "poison.npy", np.ones((4, 16), np.float32))
    out = tmp_path / "out"
    code, err = finish(start_there(features, "--out", out))
    found = read(out)
    assert code == 1
    assert "poison.npy: the process died on it" in found.pop("poison")
    assert found == wanted
    assert "poison.npy: the process died on it" in err
