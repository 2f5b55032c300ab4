"""co2net-bench runs: folders of co2net-train side by side."""

import json

import pytest
from click.testing import CliRunner

from co2net.config import TrainConfig
from co2net.settings import apply_settings, dump_config
from co2net.training.run_folder import RunFolder
from co2net_benchmarks.cli.group import main


def evaluation(iteration, mean):
    return {
        "iteration": iteration,
        "evaluated": True,
        "detection": {
            "subset": "test", "protocol": "co2net", "tious": [0.5], "map": [mean],
            "averages": {"0.1:0.7": mean, "all": mean / 2}, "classification_map": 0.75,
        },
        "holdout": {"classification_map": 0.5, "loss": 1.0, "videos": 2},
    }  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """Write a run: its settings, losses, and the mAP of an evaluation after each of them."""

    def run(name, settings, losses, maps, best=None):
        folder = RunFolder(tmp_path / name)
        with folder.open():
            pass
        folder.write_config(dump_config(apply_settings(settings, TrainConfig())))
        for number, loss in enumerate(losses, 1):
            folder.log({"iteration": number, "total": loss})
            if number <= len(maps):
                folder.log(evaluation(number, maps[number - 1]))
        if best is not None:
            chosen = {"runs": [{"folder": name, "best": evaluation(best, maps[best - 1])}]}
            folder.summary.write_text(json.dumps(chosen))
        return folder.path

    return run


def runs(*arguments):
    return CliRunner().invoke(main, ["runs", *map(str, arguments)])


def rows(text):
    return {line[:40].split("  ")[0]: line.split()[-2:] for line in text.splitlines()[3:]}


def test_settings_that_differ_and_figures(make):
    first = make("a", [], [3.0, 1.0], [0.2, 0.1], best=1)
    second = make("b", ["learning_rate=0.01", "model.dropout=0.1"], [4.0], [])
    done = runs(first, second)
    assert done.exit_code == 0, done.stderr
    found = rows(done.stdout)
    assert found["learning_rate"][1] == "0.01"
    assert found["model.dropout"] == ["0.7", "0.1"]
    assert "model.embed_dim" not in found
    assert found["iterations done"] == ["2", "1"]
    assert found["loss, last 50"] == ["2.000", "4.000"]
    assert found["last: iteration"] == ["2", "-"]
    assert found["last: mAP 0.1:0.7"] == ["10.00", "-"]
    assert found["best: mAP 0.1:0.7"] == ["20.00", "-"]
    assert "Settings are those" not in done.stdout
    assert "Settings are those" in runs(first, second, "--explain").stdout


def test_other_folders_are_one_line(make, tmp_path):
    make("seeds/seed_1", [], [1.0], [])
    cases = {
        tmp_path / "seeds": "its runs are seed_1",
        tmp_path / "nowhere": "not a run of co2net-train (no config.yaml)",
    }
    damaged = make("damaged", [], [1.0], [])
    RunFolder(damaged).metrics.write_text("[1]\n")
    cases[damaged] = "metrics.jsonl: line 1 is not a record"
    summary = make("summary", [], [1.0], [])
    RunFolder(summary).summary.write_text("{}")
    cases[summary] = "summary.json: damaged"
    for folder, words in cases.items():
        done = runs(folder)
        assert done.exit_code == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
