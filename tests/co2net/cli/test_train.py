import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from co2net.checkpoint import Checkpoint
from co2net.cli.train import main
from co2net.config import PRESETS
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.identity import Extraction, StreamIdentity

pytestmark = pytest.mark.usefixtures("one_thread")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def train(tiny, out, *arguments):
    return run(tiny.folder, "--out", out, *tiny.options, *arguments)


def test_it_prints_a_table_and_writes_a_summary(tiny, tmp_path):
    result = train(tiny, tmp_path / "run", "--plot", "--device", "cpu")
    assert result.exit_code == 0, result.output
    header, last, best, *notes = result.stdout.splitlines()
    assert header.split()[:3] == ["seed", "checkpoint", "iteration"]
    assert last.split()[:3] == ["3552", "last", "30"]
    assert best.split()[1] == "best-on-holdout"
    assert "protocol co2net" in notes[0]
    assert "training on cpu" in result.stderr
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["runs"][0]["last"]["iteration"] == 30


def test_a_checkpoint_knows_what_its_features_were_made_with(tiny, tmp_path):
    backbone = StreamIdentity("i3d", "rgb_scratch", "a" * 64, 8, "float")
    made = Extraction(backbone, None, SnippetTiming(), 256, 224)
    data = tmp_path / "data"
    shutil.copytree(tiny.folder, data)
    made.write(data / "features")
    result = run(data, "--out", tmp_path / "run", *tiny.options, "--set", "iterations=2", "-q")
    assert result.exit_code == 0, result.output
    loaded = Checkpoint.load(tmp_path / "run" / "last.ckpt")
    assert Extraction.from_mapping(loaded.extraction, "") == made


def test_best_on_test_is_called_what_it_is(tiny, tmp_path):
    result = train(tiny, tmp_path / "run", "--select", "best-on-test", "--quiet")
    assert "chosen on the test set, as published: optimistic" in result.stdout
    assert result.stderr == ""


def test_seeds_give_mean_and_deviation(tiny, tmp_path):
    result = train(tiny, tmp_path / "run", "--seeds", "1,2", "--json", "-q")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [item["seed"] for item in document["runs"]] == [1, 2]
    values = [100 * item["last"]["detection"]["averages"]["0.1:0.7"] for item in document["runs"]]
    spread = document["over_seeds"]["last"]
    assert spread["mean"]["avg 0.1:0.7"] == pytest.approx(sum(values) / 2)
    assert spread["std"]["avg 0.1:0.7"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert values[0] != values[1]
    again = train(tiny, tmp_path / "run", "--seeds", "1,2,3", "--resume")
    assert again.exit_code == 0, again.output
    assert "mean±std" in again.stdout
    assert again.stdout.splitlines()[5].split()[:2] == ["3", "last"]


def test_a_resume_takes_the_settings_of_the_run(tiny, tmp_path):
    train(tiny, tmp_path / "run", "--set", "iterations=3")
    result = run(
        tiny.folder, "--out", tmp_path / "run", "--resume", "--set", "iterations=5", "--json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["runs"][0]["last"]["iteration"] == 5


def test_a_used_folder_is_kept_unless_overwritten(tiny, tmp_path):
    train(tiny, tmp_path / "run", "--set", "iterations=3")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    result = train(tiny, tmp_path / "run")
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    assert train(tiny, tmp_path / "run", "--overwrite", "-q").exit_code == 0


def test_print_config_needs_nothing_and_gives_what_a_config_file_takes(tmp_path):
    result = run("--preset", "activitynet1.2", "--set", "seed=7", "--print-config")
    assert result.exit_code == 0
    (tmp_path / "config.yaml").write_text(result.stdout)
    again = run("--config", tmp_path / "config.yaml", "--print-config")
    assert again.stdout == result.stdout
    assert "seed: 7  # of the weights, the batches and the dropout\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "learning_rte=1"], "did you mean 'learning_rate'"),
        (["--seeds", "1,x"], "numbers separated by commas"),
        (["--seeds", "1,1"], "twice"),
        (["--seeds", "-1"], "must lie in"),
        (["--resume", "--overwrite"], "exclude each other"),
        (["--resume"], "no run to resume"),
        (["--test-subset", "tset"], "did you mean 'test'"),
        (["--set", "evaluate_subset=tset"], "did you mean 'test'"),
        (["--set", "min_snippets=1000"], "min_snippets"),
        (["--config", "none.yaml"], "cannot read the config"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, words, tiny, tmp_path):
    result = train(tiny, tmp_path / "run", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_data_and_out_are_asked_for():
    assert "give DATA and --out RUN" in run().stderr
    assert run("nowhere", "--out", "x").exit_code == 2


def test_a_missing_device_is_an_error(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = train(tiny, tmp_path / "run", "--device", "cuda")
    assert result.exit_code == 2
    assert "no cuda device" in result.stderr


def test_videos_without_segments_are_trained_on_and_choose_by_labels(tiny, tmp_path):
    document = json.loads((tiny.folder / "annotations.json").read_text())
    for entry in document["database"].values():
        entry["labels"] = [record["label"] for record in entry.pop("annotations")[:1]]
    weak = tmp_path / "weak.json"
    weak.write_text(json.dumps(document))
    result = train(tiny, tmp_path / "run", "--annotations", weak)
    assert result.exit_code == 0, result.output
    assert "no detection mAP" in result.stderr
    assert "hold-out cls mAP" in result.stdout
    result = train(tiny, tmp_path / "b", "--annotations", weak, "--select", "best-on-test")
    assert result.exit_code == 2
    assert "has segments" in result.stderr


def test_streams_in_two_folders_of_other_widths_and_stride(tiny, tmp_path):
    for stream, channels in (("rgb", slice(0, 6)), ("flow", slice(6, 16))):
        (tmp_path / stream).mkdir()
        for file in (tiny.folder / "features").iterdir():
            np.save(tmp_path / stream / file.name, np.load(file)[:, channels].astype(np.float16))
    document = json.loads((tiny.folder / "annotations.json").read_text())
    del document["streams"]
    (tmp_path / "labels.json").write_text(json.dumps(document))
    result = run(
        tmp_path, "--annotations", tmp_path / "labels.json", "--rgb", tmp_path / "rgb",
        "--flow", tmp_path / "flow", "--stride", 8, "--fps", 12.5, "--out", tmp_path / "run",
        *tiny.options,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    checkpoint = Checkpoint.load(tmp_path / "run" / "best.ckpt")
    assert (checkpoint.model.rgb_dim, checkpoint.model.flow_dim) == (6, 10)
    assert checkpoint.timing == SnippetTiming(8, 12.5)


def test_print_config_says_what_each_key_means():
    lines = run("--print-config").stdout.splitlines()
    assert "iterations: 5000  # batches to train on" in lines
    assert "  embed_dim: 2048  # width of the fused features" in lines
    assert all(len(line) <= 110 for line in lines)


def test_threads_are_set_and_recorded(tiny, tmp_path):
    result = train(tiny, tmp_path / "run", "--threads", 2, "--set", "iterations=2")
    assert result.exit_code == 0, result.output
    (environment,) = (tmp_path / "run" / "environment.jsonl").read_text().splitlines()
    assert json.loads(environment)["threads"] == 2


def test_ctrl_c_while_torch_is_imported_is_one_line(tmp_path):
    """In a process of its own: a module `torch` that stands for its slow import."""
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")
    paths = [str(tmp_path), *sys.path]
    result = subprocess.run(
        [sys.executable, "-m", "co2net.cli.train", "data", "--out", "run"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 130
    assert result.stderr.strip() == "co2net-train: interrupted"


def test_a_restart_by_torchrun_needs_no_resume_and_overwrites_nothing(tiny, tmp_path, monkeypatch):
    train(tiny, tmp_path / "run", "--set", "iterations=3", "--set", "checkpoint_every=1")
    (tmp_path / "run" / "last.ckpt").chmod(0o644)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    for out in (tmp_path / "run", tmp_path / "new"):
        settings = ["--set", "iterations=5", "--set", "checkpoint_every=1"]
        result = train(tiny, out, "--overwrite", *settings, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["runs"][0]["last"]["iteration"] == 5
    lines = (tmp_path / "run" / "environment.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [0, 3]


def test_help_shows_presets_and_examples():
    result = run("--help")
    assert "torchrun" in result.stdout
    for preset in PRESETS:
        assert preset in result.stdout
