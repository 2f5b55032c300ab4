"""Two processes under torchrun, on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from co2net.checkpoint import Checkpoint
from co2net.config import TrainConfig
from co2net.data.dataset import open_dataset
from co2net.training.distributed import ProcessGroup
from co2net.training.run_folder import RunFolder
from co2net.training.training_data import TrainingData
from co2net_runtime.errors import InputError

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("distributed_worker.py")
ALONE = ProcessGroup(torch.device("cpu"))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(*arguments, restarts=0):
    """Run the worker in two processes."""
    python_path = f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = ["--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return subprocess.run(
        [*launcher, *options, str(WORKER), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(tiny, tmp_path_factory):
    """The folder two processes wrote: gradients.pt, and the runs `whole` and `parts`."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("whole", "parts"):
        (folder / name).mkdir()
    result = launch(tiny.folder, folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_torchrun_restarts_a_killed_rank_and_ends_as_if_it_had_lived(tiny, out, tmp_path):
    result = launch(tiny.folder, tmp_path / "run", "command", restarts=1)
    assert result.returncode == 0, result.stderr
    runs = [RunFolder(folder) for folder in (out / "whole", tmp_path / "run")]
    whole, restarted = (Checkpoint.load(run.last) for run in runs)
    for name, value in whole.weights.items():
        assert torch.equal(value, restarted.weights[name]), name
    totals = [[r["total"] for r in run.read_metrics() if "total" in r] for run in runs]
    assert totals[0] == totals[1]
    environments = runs[1].environment.read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in environments] == [0, 3]


def test_gradients_are_the_mean_of_the_ranks_gradients(tiny, out, worker):
    together = torch.load(out / "gradients.pt", weights_only=True)
    ranks = [worker.gradients(tiny.folder, ALONE, rank, weights_seed=0) for rank in (0, 1)]
    assert not torch.equal(ranks[0]["fusion.0.weight"], ranks[1]["fusion.0.weight"])
    for name, value in together.items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(value, mean, rtol=1e-4, atol=1e-6)
    assert len(together) == len(ranks[0])


def test_a_resumed_run_of_two_equals_an_uninterrupted_one(out):
    whole, parts = (Checkpoint.load(out / name / "last.ckpt") for name in ("whole", "parts"))
    for name, value in whole.weights.items():
        assert torch.equal(value, parts.weights[name]), name
    first, second = parts.training["positions"]
    assert first["sampler"] != second["sampler"]
    assert not torch.equal(first["generators"]["cpu"], second["generators"]["cpu"])
    for name in ("whole", "parts"):
        records = RunFolder(out / name).read_metrics()
        assert [r["iteration"] for r in records if "total" in r] == [1, 2, 3, 4, 5, 6]
    environments = (out / "parts" / "environment.jsonl").read_text().splitlines()
    assert [json.loads(line)["processes"] for line in environments] == [2, 2]


def test_a_run_of_two_is_not_resumed_by_one(tiny, out, worker):
    with pytest.raises(InputError, match="had 2 processes"):
        worker.run(tiny.folder, out / "parts", 9, ALONE)


def test_ranks_draw_different_batches_and_rank_0_those_of_a_single_run(tiny):
    config = TrainConfig(max_snippets=20)
    data = TrainingData.of(open_dataset(tiny.folder), config)
    first, second = (data.sampler(config, rank) for rank in (0, 1))
    assert np.array_equal(first.draw().snippets, data.sampler(config).draw().snippets)
    assert not np.array_equal(first.draw().snippets, second.draw().snippets)
