"""The training loop: it learns, it resumes exactly, it stops for a reason."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from co2net.checkpoint import Checkpoint
from co2net.config import TrainConfig
from co2net.data.dataset import open_dataset
from co2net.settings import apply_settings, read_config
from co2net.training.distributed import Group
from co2net.training.loop import TrainingFailed, train
from co2net.training.progress import StatusLine
from co2net.training.run_folder import RunFolder
from co2net.training.training_data import TrainingData
from co2net.training.validation import score_detection
from co2net_runtime.errors import InputError

CPU = Group(torch.device("cpu"))
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("one_thread")


def start(tiny, folder, *settings):
    config = apply_settings([*tiny.settings, *settings], TrainConfig())
    data = TrainingData.of(open_dataset(tiny.folder), config)
    run = RunFolder(folder)
    run.create(resume=run.config.exists())
    return train(data, config, run, CPU, StatusLine(quiet=True)), run


def losses(run):
    times = {"seconds", "data_seconds"}
    return [
        {key: value for key, value in record.items() if key not in times}
        for record in run.read_metrics()
        if "total" in record
    ]


def evaluations(run):
    return {r["iteration"]: r for r in run.read_metrics() if r.get("evaluated")}


def assert_same_weights(first, second):
    first, second = Checkpoint.load(first).weights, Checkpoint.load(second).weights
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("strategy", ["co2", "evidential"])
def test_it_learns(strategy, tiny, tmp_path):
    settings = ["iterations=60", "select=last", f"loss.strategy={strategy}"]
    _, run = start(tiny, tmp_path / strategy, *settings)
    trained = evaluations(run)[60]["detection"]["averages"]["0.1:0.7"]
    _, untrained = start(tiny, tmp_path / "no", "iterations=1", "learning_rate=1e-9")
    before = evaluations(untrained)[1]["detection"]["averages"]["0.1:0.7"]
    assert trained > before + 0.25


def test_the_run_folder_holds_everything(tiny, tmp_path):
    outcome, run = start(tiny, tmp_path / "run", "evaluate_every=10")
    assert outcome.iteration == 30
    config = apply_settings([*tiny.settings, "evaluate_every=10"], TrainConfig())
    assert read_config(run.config, TrainConfig()) == config
    assert len(losses(run)) == 30
    assert {"mil_orig", "grad_norm", "learning_rate", "total"} < set(losses(run)[0])
    assert list(evaluations(run)) == [10, 20, 30]
    assert set(evaluations(run)[30]["detection"]["ap"]) == {"jump", "run", "swim"}
    assert list(run.tensorboard.iterdir())
    (environment,) = (json.loads(line) for line in run.environment.read_text().splitlines())
    assert environment["torch"] == torch.__version__
    best, last = Checkpoint.load(run.best), Checkpoint.load(run.last)
    assert best.provenance["iteration"] == outcome.best.iteration
    assert best.training is None
    assert last.provenance["config"]["evaluate_every"] == 10
    assert last.classes == ("jump", "run", "swim")


def test_the_recorded_map_is_that_of_the_written_checkpoint(tiny, tmp_path):
    _, run = start(tiny, tmp_path / "run", "select=last")
    dataset = open_dataset(tiny.folder)
    videos = dataset.videos("test")
    model = Checkpoint.load(run.last).build()
    scores = score_detection(model, dataset, "test", videos, TrainConfig())
    assert list(scores.map) == evaluations(run)[30]["detection"]["map"]


def test_a_resumed_run_equals_an_uninterrupted_one(tiny, tmp_path):
    settings = ["evaluate_every=10", "checkpoint_every=7"]
    whole, reference = start(tiny, tmp_path / "whole", *settings)
    start(tiny, tmp_path / "parts", *settings, "iterations=14")
    # the last part began again at 14, and its evaluation there was the end of that run
    resumed, run = start(tiny, tmp_path / "parts", *settings)
    assert losses(run) == losses(reference)
    assert resumed.best.iteration == whole.best.iteration
    assert_same_weights(run.last, reference.last)
    assert len(run.environment.read_text().splitlines()) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(number, tiny, tmp_path):
    run = RunFolder(tmp_path / "run")
    command = [
        sys.executable,
        "-m",
        "co2net.cli.train",
        str(tiny.folder),
        "--out",
        str(run.path),
    ]
    options = [*tiny.options, "--set", "iterations=100000", "--device", "cpu"]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"}
    process = subprocess.Popen(
        [*command, *options], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (run.metrics.exists() and run.metrics.read_bytes().count(b"\n") > 30):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    trained = len(run.read_metrics())
    saved = Checkpoint.load(run.last).training["iteration"]
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert saved == trained
        assert f"stopped at iteration {saved}" in errors
    else:
        assert process.returncode == -signal.SIGKILL
        # what was lost is less than one interval
        assert trained - 21 < saved <= trained
    end = f"iterations={saved + 10}"
    start(tiny, run.path, end)
    _, reference = start(tiny, tmp_path / "whole", end)
    assert losses(run) == losses(reference)
    assert_same_weights(run.last, reference.last)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["learning_rate=0.1"], "learning_rate 0.005 -> 0.1"),
        (["loss.topk_divisor=3"], "loss.topk_divisor 7 -> 3"),
        (["select=last"], "select 'best-on-holdout' -> 'last'"),
    ],
)
def test_a_resume_with_other_settings_is_refused(settings, words, tiny, tmp_path):
    _, run = start(tiny, tmp_path / "run", "iterations=2")
    config = run.config.read_text()
    with pytest.raises(InputError, match=words):
        start(tiny, run.path, "iterations=4", *settings)
    assert run.config.read_text() == config


def test_the_evidential_loss_depends_on_the_planned_length(tiny, tmp_path):
    settings = ["select=last", "loss.strategy=evidential"]
    start(tiny, tmp_path / "run", *settings, "iterations=2")
    with pytest.raises(InputError, match="iterations 2 -> 4"):
        start(tiny, tmp_path / "run", *settings, "iterations=4")


def test_a_resume_with_other_data_is_refused(tiny, tmp_path):
    _, run = start(tiny, tmp_path / "run", "iterations=2")
    config = apply_settings([*tiny.settings, "iterations=4"], TrainConfig())
    data = TrainingData.of(open_dataset(tiny.folder), config)
    fewer = replace(data, train=data.train[1:])
    with pytest.raises(InputError, match="other data"):
        train(fewer, config, run, CPU, StatusLine(quiet=True))


def test_best_on_test_keeps_the_best_evaluation(tiny, tmp_path):
    outcome, run = start(
        tiny, tmp_path / "run", "select=best-on-test", "evaluate_every=5", "iterations=40"
    )
    averages = {i: r["detection"]["averages"]["0.1:0.7"] for i, r in evaluations(run).items()}
    assert outcome.best.iteration == max(averages, key=averages.get)
    best = Checkpoint.load(run.best)
    assert best.provenance["iteration"] == outcome.best.iteration
    assert "optimistic" in best.provenance["selection"]
    dataset = open_dataset(tiny.folder)
    scores = score_detection(best.build(), dataset, "test", dataset.videos("test"), TrainConfig())
    assert scores.averages["0.1:0.7"] == max(averages.values())


def test_held_out_videos_are_not_trained_on(tiny):
    data = TrainingData.of(open_dataset(tiny.folder), TrainConfig())
    names = {video.name for video in data.train}
    assert len(data.held_out) == 3
    assert not names & {video.name for video in data.held_out}
    everything = TrainingData.of(open_dataset(tiny.folder), TrainConfig(select="last"))
    assert len(everything.train) == len(names) + 3


def test_patience_ends_a_run_that_no_longer_gets_better(tiny, tmp_path):
    settings = ["evaluate_every=1", "patience=3", "learning_rate=1e-12", "iterations=50"]
    outcome, run = start(tiny, tmp_path / "run", *settings, "select=best-on-test")
    assert (outcome.best.iteration, outcome.best.stale) == (1, 3)
    assert outcome.iteration == 4
    assert not outcome.interrupted
    # to resume it does not wear patience out further
    assert start(tiny, run.path, *settings, "select=best-on-test")[0] == outcome


def test_nan_stops_the_run_and_names_the_videos(tiny, tmp_path):
    folder = tmp_path / "data"
    (folder / "features").mkdir(parents=True)
    (folder / "annotations.json").write_bytes((tiny.folder / "annotations.json").read_bytes())
    for file in (tiny.folder / "features").iterdir():
        features = np.load(file)
        if file.stem == "video04":
            features[:, 5] = np.nan
        np.save(folder / "features" / file.name, features)
    config = apply_settings([*tiny.settings, "select=last", "singles=1"], TrainConfig())
    run = RunFolder(tmp_path / "run")
    run.create()
    data = TrainingData.of(open_dataset(folder), config)
    with pytest.raises(TrainingFailed, match=r"total nan.*video04.*last\.ckpt") as error:
        train(data, config, run, CPU, StatusLine(quiet=True))
    saved = Checkpoint.load(run.last)
    assert all(torch.isfinite(value).all() for value in saved.weights.values())
    assert f"iteration {saved.training['iteration'] + 1} " in str(error.value)
    # the state before the batch: going on meets the same batch
    with pytest.raises(TrainingFailed) as again:
        train(data, config, run, CPU, StatusLine(quiet=True))
    assert str(again.value) == str(error.value)


def test_short_videos_and_lonely_classes_are_left_out_with_a_word(tiny):
    dataset = open_dataset(tiny.folder)
    lengths = sorted(dataset.length(video.name) for video in dataset.videos("train"))
    config = TrainConfig(select="last", min_snippets=lengths[3] + 1)
    data = TrainingData.of(dataset, config)
    assert len(data.train) < 15
    assert any("left out: shorter than min_snippets" in note for note in data.notes)
    lonely = [v for v in data.train if v.labels != (0,)] + [data.train[0]]
    alone = TrainingData(dataset, tuple(lonely), (), data.subset, (), ())
    assert "jump" in (alone.unpaired_note(alone.sampler(config)) or "")
