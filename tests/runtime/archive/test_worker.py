"""What an actor does, without Ray: the same results as co2net-infer, at the same cost."""

import json
import time

import numpy as np
import pytest

from co2net_runtime.archive.inputs import find_archive
from co2net_runtime.archive.worker import ShardWorker, WorkerOptions
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError

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


def test_a_shard_costs_what_a_loop_costs(worker, localizer, feature_folder, tmp_path):
    """CPU time, in turns: the best ratio of some rounds, since other work shares the caches."""
    features = feature_folder(*[800] * 25)
    actor = worker()
    ratios = []
    for round_ in range(8):
        begun = time.process_time()
        with (tmp_path / "loop.jsonl").open("w") as lines:
            for video, found in localizer.stream_files([features]):
                lines.write(json.dumps({"video": video, "results": found.to_records()}) + "\n")
        between = time.process_time()
        compute(actor, features, round_)
        ratios.append((time.process_time() - between) / (between - begun))
    assert min(ratios) <= 1.1, ratios


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
