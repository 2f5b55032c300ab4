"""The training loop: it learns, it resumes exactly, it stops for a reason."""

import json
import resource
import shutil
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
from co2net.training.distributed import ProcessGroup
from co2net.training.loop import TrainingFailed, train
from co2net.training.progress import ProgressLine
from co2net.training.run_folder import RunFolder
from co2net.training.train_step import NonFiniteLoss, Trainer
from co2net.training.training_data import TrainingData
from co2net.training.validation import score_detection
from co2net_runtime.errors import InputError

CPU = ProcessGroup(torch.device("cpu"))
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("one_thread")


def start(tiny, folder, *settings):
    config = apply_settings([*tiny.settings, *settings], TrainConfig())
    data = TrainingData.of(open_dataset(tiny.folder), config)
    run = RunFolder(folder)
    with run.open(resume=run.config.exists()):
        return train(data, config, run, CPU, ProgressLine(quiet=True)), run


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


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["optimizer=adamw", "schedule=cosine", "warmup=5", "ema_decay=0.9", "clip_norm=5"],
    ],
    ids=["published", "all options"],
)
def test_it_learns(settings, tiny, tmp_path):
    _, run = start(tiny, tmp_path / "yes", "iterations=60", "select=last", *settings)
    trained = evaluations(run)[60]["detection"]["averages"]["0.1:0.7"]
    _, untrained = start(tiny, tmp_path / "no", "iterations=1", "learning_rate=1e-9")
    before = evaluations(untrained)[1]["detection"]["averages"]["0.1:0.7"]
    assert trained > before + 0.25


def test_the_run_folder_holds_everything(tiny, tmp_path):
    result, run = start(tiny, tmp_path / "run", "evaluate_every=10")
    assert result.iteration == 30
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
    assert best.provenance["iteration"] == result.best.iteration
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


def test_a_cosine_depends_on_the_planned_length(tiny, tmp_path):
    settings = ["select=last", "schedule=cosine"]
    start(tiny, tmp_path / "run", *settings, "iterations=2")
    with pytest.raises(InputError, match="iterations 2 -> 4"):
        start(tiny, tmp_path / "run", *settings, "iterations=4")


def test_a_resume_with_other_data_is_refused(tiny, tmp_path):
    _, run = start(tiny, tmp_path / "run", "iterations=2")
    config = apply_settings([*tiny.settings, "iterations=4"], TrainConfig())
    data = TrainingData.of(open_dataset(tiny.folder), config)
    fewer = replace(data, train=data.train[1:])
    with pytest.raises(InputError, match="other data"):
        train(fewer, config, run, CPU, ProgressLine(quiet=True))


def test_best_on_test_keeps_the_best_evaluation(tiny, tmp_path):
    result, run = start(
        tiny, tmp_path / "run", "select=best-on-test", "evaluate_every=5", "iterations=40"
    )
    averages = {i: r["detection"]["averages"]["0.1:0.7"] for i, r in evaluations(run).items()}
    assert result.best.iteration == max(averages, key=averages.get)
    best = Checkpoint.load(run.best)
    assert best.provenance["iteration"] == result.best.iteration
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
    result, run = start(tiny, tmp_path / "run", *settings, "select=best-on-test")
    assert (result.best.iteration, result.best.stale) == (1, 3)
    assert result.iteration == 4
    assert not result.interrupted
    # to resume it does not wear patience out further
    assert start(tiny, run.path, *settings, "select=best-on-test")[0] == result


def copy_with(tiny, folder, name, value):
    """Copy the tiny dataset with a value in snippet 5 of the named video."""
    shutil.copytree(tiny.folder, folder)
    file = folder / "features" / f"{name}.npy"
    features = np.load(file)
    features[5] = value
    np.save(file, features)
    return open_dataset(folder), file


def test_nan_stops_the_run_and_names_the_file(tiny, tmp_path):
    dataset, file = copy_with(tiny, tmp_path / "data", "video04", np.nan)
    config = apply_settings([*tiny.settings, "select=last", "singles=1"], TrainConfig())
    run = RunFolder(tmp_path / "run")
    data = TrainingData.of(dataset, config)
    words = rf"total nan.*NaN or infinity in {file}: .*last\.ckpt"
    with run.open(), pytest.raises(TrainingFailed, match=words) as error:
        train(data, config, run, CPU, ProgressLine(quiet=True))
    saved = Checkpoint.load(run.last)
    assert all(torch.isfinite(value).all() for value in saved.weights.values())
    assert f"iteration {saved.training['iteration'] + 1} " in str(error.value)
    # the state before the batch: continuing meets the same batch
    with run.open(resume=True), pytest.raises(TrainingFailed) as again:
        train(data, config, run, CPU, ProgressLine(quiet=True))
    assert str(again.value) == str(error.value)


@pytest.mark.parametrize("subset", ["test", "held-out"])
@pytest.mark.parametrize("value", [np.nan, 3e38], ids=["nan", "huge"])
def test_a_failing_evaluation_names_the_file_and_loses_nothing(subset, value, tiny, tmp_path):
    settings = ["evaluate_every=5", "iterations=10"]
    config = apply_settings([*tiny.settings, *settings], TrainConfig())
    clean = TrainingData.of(open_dataset(tiny.folder), config)
    name = (clean.evaluated if subset == "test" else clean.held_out)[0].name
    dataset, file = copy_with(tiny, tmp_path / "data", name, value)
    run = RunFolder(tmp_path / "run")
    with run.open(), pytest.raises(InputError, match=f"{file}: .*(NaN or infinite|not finite)"):
        train(TrainingData.of(dataset, config), config, run, CPU, ProgressLine(quiet=True))
    assert Checkpoint.load(run.last).training["iteration"] == 5
    assert not run.best.exists()
    # with the file repaired, the run continues as if nothing had been wrong
    start(tiny, run.path, *settings)
    whole, reference = start(tiny, tmp_path / "whole", *settings)
    assert losses(run) == losses(reference)
    assert list(evaluations(run)) == [5, 10]
    assert Checkpoint.load(run.best).provenance["iteration"] == whole.best.iteration
    assert_same_weights(run.best, reference.best)


def test_a_kill_during_an_evaluation_repeats_it(tiny, tmp_path, monkeypatch):
    settings = ["evaluate_every=5", "iterations=10"]

    class Killed(BaseException):
        pass

    def save(checkpoint, path):
        # after the evaluation is recorded and best.ckpt written, before last.ckpt
        if checkpoint.training and evaluations(run) and path == run.last:
            raise Killed
        saved(checkpoint, path)

    saved, run = Checkpoint.save, RunFolder(tmp_path / "run")
    monkeypatch.setattr(Checkpoint, "save", save)
    with pytest.raises(Killed):
        start(tiny, run.path, *settings)
    assert list(evaluations(run)) == [5]
    monkeypatch.undo()
    result, _ = start(tiny, run.path, *settings)
    whole, reference = start(tiny, tmp_path / "whole", *settings)
    assert result == whole
    assert [r["iteration"] for r in run.read_metrics() if r.get("evaluated")] == [5, 10]
    assert losses(run) == losses(reference)


def test_a_full_disk_is_one_line_and_keeps_last_ckpt(tiny, tmp_path):
    settings = ["iterations=6", "checkpoint_every=3", "select=last"]
    _, run = start(tiny, tmp_path / "run", *settings)
    before = run.last.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: cannot write: File too large"):
            start(tiny, run.path, "iterations=9", *settings[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.last.read_bytes() == before
    assert not list(run.path.glob(".last*"))
    result, _ = start(tiny, run.path, "iterations=9", *settings[1:])
    assert result.iteration == 9


ALL_OPTIONS = [
    "optimizer=adamw", "schedule=cosine", "warmup=5", "ema_decay=0.9", "clip_norm=5",
    "evaluate_every=10", "checkpoint_every=7", "iterations=30",
]  # fmt: skip


def test_a_resumed_run_with_all_options_equals_an_uninterrupted_one(tiny, tmp_path, monkeypatch):
    _, reference = start(tiny, tmp_path / "whole", *ALL_OPTIONS)

    def step(trainer, features, labels, iteration):
        if iteration == 16:
            raise NonFiniteLoss({})
        return stepped(trainer, features, labels, iteration)

    stepped = Trainer.step
    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(TrainingFailed):
        start(tiny, tmp_path / "parts", *ALL_OPTIONS)
    monkeypatch.undo()
    _, run = start(tiny, tmp_path / "parts", *ALL_OPTIONS)
    assert losses(run) == losses(reference)
    assert_same_weights(run.last, reference.last)
    assert_same_weights(run.best, reference.best)
    rates = [record["learning_rate"] for record in losses(run)]
    assert rates[:5] == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.005])
    assert rates[-1] < 1e-4


def test_a_checkpoint_of_the_first_version_resumes(tiny, tmp_path):
    """It has the settings of the loss that was removed, and no awaits_evaluation."""
    _, run = start(tiny, tmp_path / "run", "iterations=4", "select=last")
    saved = Checkpoint.load(run.last)
    training = dict(saved.training)
    del training["awaits_evaluation"]
    training["config"] = {
        **{k: v for k, v in training["config"].items() if k in OLD_KEYS},
        "loss": {**training["config"]["loss"], "strategy": "co2", "evidential_weight": 1.0},
    }
    replace(saved, training=training).save(run.last)
    result, _ = start(tiny, run.path, "iterations=8", "select=last")
    _, reference = start(tiny, tmp_path / "whole", "iterations=8", "select=last")
    assert result.iteration == 8
    assert_same_weights(run.last, reference.last)


OLD_KEYS = {
    "iterations", "seed", "learning_rate", "weight_decay", "pairs", "singles", "max_snippets",
    "min_snippets", "precision", "compile", "select", "holdout_fraction", "evaluate_every",
    "evaluate_subset", "checkpoint_every", "patience", "model", "decode", "evaluation",
}  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        {"learner": {}},
        {"learner": {"optimizer": {"state": {}, "param_groups": []}, "scaler": {}}},
        {"positions": [{"sampler": {}, "generators": {}}]},
        {"positions": [3]},
        {"config": {"iterations": "many"}},
        {"best": {"iteration": 1}},
        {"iteration": None},
    ],
)
def test_a_damaged_resume_state_is_one_line(damage, tiny, tmp_path):
    _, run = start(tiny, tmp_path / "run", "iterations=2", "select=last")
    saved = Checkpoint.load(run.last)
    replace(saved, training={**saved.training, **damage}).save(run.last)
    with pytest.raises(InputError, match=r"last\.ckpt: "):
        start(tiny, run.path, "iterations=4", "select=last")


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
