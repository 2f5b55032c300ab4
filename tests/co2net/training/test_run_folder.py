import math
import os

import pytest

from co2net.training.run_folder import RunFolder
from co2net_runtime.errors import InputError


def test_a_used_folder_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(InputError, match=r"--resume .*--overwrite"), RunFolder(tmp_path).open():
        pass
    with RunFolder(tmp_path).open(resume=True), RunFolder(tmp_path / "new" / "run").open():
        pass


def test_there_must_be_a_run_to_resume(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        opened = RunFolder(folder).open(resume=True)
        with pytest.raises(InputError, match="no run to resume"), opened:
            pass
    assert list(tmp_path.iterdir()) == []


def test_overwrite_deletes_a_run_and_nothing_else(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config("a: 1\n")
    run.log({"iteration": 1})
    run.last.write_bytes(b"x")
    run.tensorboard.mkdir()
    (run.tensorboard / "events").write_bytes(b"x")
    foreign = tmp_path / "thesis.tex"
    foreign.write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"), run.open(overwrite=True):
        pass
    assert run.last.exists()
    foreign.unlink()
    (tmp_path / ".last.ckpt.k3j4h5x_").write_bytes(b"cut short by a kill")
    with run.open(overwrite=True):
        assert list(tmp_path.iterdir()) == [tmp_path / ".lock"]


def test_the_second_training_in_a_folder_is_refused(tmp_path):
    words = f"{tmp_path}: in use by process {os.getpid()}"
    for options in ({}, {"overwrite": True}):
        second = RunFolder(tmp_path).open(**options)
        with RunFolder(tmp_path).open(), pytest.raises(InputError, match=words), second:
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.yaml", "last.ckpt", "summary.json", "metrics.jsonl"])
def test_leftovers_of_a_kill_do_not_block_a_start_and_are_swept(name, tmp_path):
    leftover = tmp_path / f".{name}.a1b2c3d4"
    leftover.touch()
    with RunFolder(tmp_path).open():
        assert not leftover.exists()


@pytest.mark.parametrize("line", ["3", "[1]", "{}", '{"iteration": "x"}', "{" * 9, "\xff"])
def test_a_damaged_line_of_metrics_is_named(line, tmp_path):
    run = RunFolder(tmp_path)
    run.metrics.write_bytes(b'{"iteration": 1}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl: line 2 is not a record"):
        run.read_metrics()


def test_rewinding_to_an_evaluation_that_is_still_to_be_done_drops_its_record(tmp_path):
    run = RunFolder(tmp_path)
    for iteration in (1, 2):
        run.log({"iteration": iteration, "total": 1.0})
        run.log({"iteration": iteration, "evaluated": True})
    run.rewind(2)
    assert len(run.read_metrics()) == 4
    run.rewind(2, keep_evaluation=False)
    assert run.read_metrics()[-1] == {"iteration": 2, "total": 1.0}


def test_rewinding_drops_what_a_resumed_run_does_again(tmp_path):
    run = RunFolder(tmp_path)
    for iteration in range(1, 6):
        run.log({"iteration": iteration, "total": math.nan})
    with run.metrics.open("a") as file:
        file.write('{"iteration": 6, "tot')
    run.rewind(3)
    assert run.read_metrics() == [{"iteration": i, "total": None} for i in (1, 2, 3)]
