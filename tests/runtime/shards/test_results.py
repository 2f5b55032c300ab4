"""Shards read back: joined into one file, and as the predictions that they are."""

import json

import pytest
from click.testing import CliRunner

from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.cli.join import main
from co2net_runtime.detections import read_results
from co2net_runtime.errors import InputError
from co2net_runtime.shards.results import read_predictions


@pytest.fixture
def shards(tiny_path, feature_folder, tmp_path):
    """Three shards of 7 videos and a bad file."""
    features = feature_folder(*range(5, 12))
    (features / "empty.npy").touch()
    for index in range(3):
        words = [tiny_path, features, "--shard", f"{index}/3", "--out", tmp_path / "shards"]
        done = CliRunner().invoke(infer_cli.main, list(map(str, words)))
        assert done.exit_code in (0, 1), done.stderr
    words = [tiny_path, features, "--out", tmp_path / "whole.json", "--threads", "1"]
    assert CliRunner().invoke(infer_cli.main, list(map(str, words))).exit_code == 1
    return tmp_path / "shards"


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


def test_the_joined_file_is_that_of_one_run(shards, tmp_path):
    done = run(shards, tmp_path / "all.json")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "7 of 8 videos" in done.stderr
    joined = json.loads((tmp_path / "all.json").read_text())
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert joined["results"] == whole["results"]
    made_by = joined["external_data"]
    assert made_by["model_sha256"] == whole["external_data"]["model_sha256"]
    assert run(shards, tmp_path / "all.json").exit_code == 2
    for name in ("all.csv", "all.jsonl"):
        assert run(shards, tmp_path / name).exit_code == 0
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 7
    assert run(shards, tmp_path / "all.srt").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "all.csv", "all.json", "all.jsonl", "whole.json",
    ]  # fmt: skip


def test_predictions_are_read_from_the_folder(shards, tmp_path):
    one, other = read_predictions(shards), read_results(tmp_path / "whole.json")
    assert {name: found.to_records() for name, found in one.items()} == {
        name: found.to_records() for name, found in other.items()
    }
    assert read_predictions(tmp_path / "whole.json").keys() == one.keys()


def test_what_is_missing_or_damaged_is_named(shards, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"no manifest.json in it"):
        read_predictions(tmp_path / "none")
    damaged = shards / "shard-000001.jsonl"
    text = damaged.read_text()
    damaged.write_text(text + '{"video": ')
    with pytest.raises(InputError, match=r"shard-000001.jsonl: line \d is damaged"):
        read_predictions(shards)
    damaged.write_bytes(text.encode() + b'{"video": "\xff"}\n')
    with pytest.raises(InputError, match=r"shard-000001.jsonl: line \d is damaged"):
        read_predictions(shards)
    damaged.write_text('{"video": "a", "results": [{"score": 1}]}\n')
    with pytest.raises(InputError, match="a result record without a 'label'"):
        read_predictions(shards)
    damaged.unlink()
    done = run(shards, tmp_path / "all.json")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "1 of 3 shards are missing, 1 the first" in done.stderr
    assert not (tmp_path / "all.json").exists()
