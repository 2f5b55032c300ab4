import json
import random

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.cli.infer_job import Job
from co2net_runtime.errors import InputError
from co2net_runtime.shards.folder import MANIFEST, read_failures, shard_path


@pytest.fixture
def infer(tiny_path):
    def run(*arguments, model=tiny_path):
        return CliRunner().invoke(infer_cli.main, [str(model), *map(str, arguments), "-q"])

    return run


@pytest.fixture
def folder(feature_folder):
    return feature_folder(5, 40, 17, 3, 60, 8)


def lines(out):
    return [
        json.loads(line)
        for path in sorted(out.glob("shard-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_shards_together_are_the_whole_run(infer, folder, tmp_path, count):
    whole = tmp_path / "whole.json"
    assert infer(folder, "--threads", "1", "--out", whole).exit_code == 0
    files = sorted(map(str, folder.iterdir()))
    for index in range(count):
        random.Random(index).shuffle(files)
        listed = tmp_path / "files.txt"
        listed.write_text("\n".join(files))
        done = infer(f"@{listed}", "--shard", f"{index}/{count}", "--out", tmp_path / "shards")
        assert (done.exit_code, done.stderr, done.stdout) == (0, "", "")
    found = lines(tmp_path / "shards")
    assert {line["video"]: line["results"] for line in found} == json.loads(whole.read_text())[
        "results"
    ]
    assert len(found) == 6
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {
        MANIFEST,
        *(f"shard-{index:06d}.jsonl" for index in range(count)),
    }


def test_a_bad_file_is_a_line_of_its_shard_and_seen_again(infer, folder, tmp_path):
    np.save(folder / "wide.npy", np.ones((4, 20), np.float32))
    out = tmp_path / "shards"
    done = infer(folder, "--shard", "0/1", "--out", out)
    assert done.exit_code == 1
    assert [video for video, _ in read_failures(shard_path(out, 0))] == ["wide"]
    assert next(line["video"] for line in lines(out)) == "wide"
    again = infer(folder, "--shard", "0/1", "--out", out, "--skip-existing")
    assert again.exit_code == 1
    assert "wide.npy: expected 16 channels" in again.stderr


def test_a_shard_of_nothing_but_bad_files_is_done(infer, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    (features / "empty.npy").touch()
    assert infer(features, "--shard", "0/1", "--out", tmp_path / "out").exit_code == 1
    assert len(lines(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (["--threads", "2"], "options threads is 1, not 2"),
        (["--top-k", "3"], "options top_k is null, not 3"),
        (["--shard", "1/3"], "shards is 2, not 3"),
    ],
)
def test_the_folder_of_another_job_is_refused(infer, folder, tmp_path, change, text):
    out = tmp_path / "shards"
    assert infer(folder, "--shard", "0/2", "--out", out).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    done = infer(folder, "--shard", "1/2", "--out", out, *change)
    assert done.exit_code == 2
    assert f"the shards of another job: its {text}" in done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_another_model_or_list_is_refused(infer, folder, tmp_path, tiny_path):
    out = tmp_path / "shards"
    assert infer(folder, "--shard", "0/2", "--out", out).exit_code == 0
    other = infer(
        folder, "--shard", "1/2", "--out", out, model=tiny_path.with_name("tiny_pool.onnx")
    )
    assert other.exit_code == 2
    assert "model_sha256 is" in other.stderr
    np.save(folder / "new.npy", np.ones((4, 16), np.float32))
    longer = infer(folder, "--shard", "1/2", "--out", out)
    assert longer.exit_code == 2
    assert "videos is 6, not 7" in longer.stderr


def test_a_killed_shard_goes_on(infer, folder, tmp_path, monkeypatch):
    out, take = tmp_path / "shards", Job._take
    taken = []

    def killed(self, outcome):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(outcome.file.video)
        take(self, outcome)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "_take", killed)
        infer(folder, "--shard", "0/1", "--out", out)
    assert not shard_path(out, 0).exists()
    monkeypatch.setattr(
        Job, "_take", lambda self, one: (taken.append(one.file.video), take(self, one))
    )
    assert infer(folder, "--shard", "0/1", "--out", out, "--skip-existing").exit_code == 0
    assert sorted(taken) == sorted(line["video"] for line in lines(out))
    assert infer(folder, "--shard", "0/1", "--out", out).exit_code == 2
    assert infer(folder, "--shard", "0/1", "--out", out, "--skip-existing").exit_code == 0
    assert len(taken) == 6


def test_equal_stems_in_two_folders_are_refused_by_name(infer, feature_folder, tmp_path):
    one, two = feature_folder(5, name="one"), feature_folder(6, name="two")
    done = infer(one, two, "--shard", "0/2", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "two/video_000.npy: its video has the same name as" in done.stderr


def test_what_does_not_go_with_shards(infer, folder, tmp_path):
    for out in ("all.jsonl", "-"):
        done = infer(folder, "--shard", "0/2", "--out", out)
        assert done.exit_code == 2
        assert "give --out FOLDER" in done.stderr
    (tmp_path / "none.txt").write_text("\n\n")
    assert "an empty list of inputs" in infer(f"@{tmp_path / 'none.txt'}").stderr


@pytest.mark.parametrize("content", ['{"error": 1', '{"error": "x", "video"}\n', '{"error": \xff'])
def test_a_damaged_shard_is_named(tmp_path, content):
    path = shard_path(tmp_path, 0)
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"shard-000000\.jsonl: damaged.*remove it"):
        list(read_failures(path))
