"""What an actor does, without Ray: the same results as co2net-infer, at the same cost."""

import json

import numpy as np
import pytest

from co2net_runtime.archive.inputs import find_archive
from co2net_runtime.archive.worker import ShardWorker, WorkerOptions
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError
from co2net_runtime.network.network import Network

ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


@pytest.fixture
def worker(tiny_path, tmp_path):
    def make(**changed):
        options = {
            "model": str(tiny_path), "engine": ENGINE, "folder": str(tmp_path), "run": "one",
            "provider": "CPUExecutionProvider", "batch": None, "backbones": None, "top_k": None,
            "min_score": None,
        }  # fmt: skip
        return ShardWorker(WorkerOptions(**{**options, **changed}))

    return make


def compute(worker, features, index=0):
    videos = json.dumps(find_archive([str(features)]))
    return worker({"shard": np.array([index]), "videos": np.array([videos])})


def test_a_shard_costs_what_a_loop_costs(worker, localizer, feature_folder, monkeypatch):
    """In calls of the network, each of the same videos."""
    features = feature_folder(*[800] * 5, *[60] * 20)
    calls = []
    run = Network.run
    monkeypatch.setattr(
        Network,
        "run",
        lambda self, videos, **options: (
            calls.append([len(v) for v in videos]) or run(self, videos, **options)
        ),
    )
    list(localizer.stream_files([features]))
    in_a_loop = list(calls)
    calls.clear()
    compute(worker(), features)
    assert calls == in_a_loop
    assert sum(map(len, calls)) == 25


def test_a_shard_that_killed_its_process_runs_one_by_one(worker, feature_folder, tmp_path):
    features = feature_folder(5, 6, 7)
    trace = tmp_path / ".shard-000000.attempt"
    trace.write_text(json.dumps({"run": "one", "attempts": 2, "died": ["video_001"]}))
    row = compute(worker(), features)
    assert (row["done"], row["failed"]) == (2, 1)
    first = (tmp_path / "shard-000000.jsonl").read_text().splitlines()[0]
    assert "video_001.npy: the process died on it, twice" in json.loads(first)["error"]
    assert not trace.exists()
    # another run's trace counts for nothing, and a damaged one neither
    for text in ('{"run": "another", "attempts": 9, "died": ["video_001"]}', "{"):
        trace.write_text(text)
        assert compute(worker(), features)["done"] == 3


def test_a_shard_that_keeps_dying_is_given_up(worker, feature_folder, tmp_path):
    trace = {"run": "one", "attempts": 6, "died": []}
    (tmp_path / ".shard-000000.attempt").write_text(json.dumps(trace))
    with pytest.raises(BackendError, match="dies outside of its videos"):
        compute(worker(), feature_folder(5, 6, 7))


def test_another_engine_than_the_drivers_is_refused(worker):
    with pytest.raises(BackendError, match="expected CUDAExecutionProvider as on the driver"):
        worker(provider="CUDAExecutionProvider")
