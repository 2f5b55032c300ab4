"""JSON lines of an earlier run: their names are read, at the memory of one line."""

import tracemalloc
from pathlib import Path

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.output.formats import json_lines
from co2net_runtime.output.sinks import LinesSink

RECORDS = [{"label": 'a, "external_data": {}', "score": 0.5, "segment": [0.0, 1.0]}] * 40
NAMES = ["plain", 'quote " and \\', "ünï\n", '", "results": [', "x" * 200]


def made_by(model="a"):
    return {"model_sha256": model, "options": {"top_k": None, "threads": 1}}


def write(path, names, model="a"):
    form = json_lines(lambda: made_by(model))
    path.write_text("".join(form.video(name, RECORDS) for name in names))


def existing(path, names, model="a"):
    sink = LinesSink(path, json_lines(lambda: made_by(model)), resume=True)
    try:
        return sink.existing(names)
    finally:
        sink.close()


def test_the_names_are_those_that_were_written(tmp_path):
    path = tmp_path / "all.jsonl"
    assert existing(path, NAMES) == set()
    write(path, NAMES)
    assert existing(path, [*NAMES, "new"]) == set(NAMES)
    with path.open("a") as file:
        file.write('{"video": "cut", "res')
    assert existing(path, [*NAMES, "cut"]) == set(NAMES)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_line_is_checked(tmp_path, place):
    path = tmp_path / "all.jsonl"
    form = {False: json_lines(made_by), True: json_lines(lambda: made_by("b"))}
    path.write_text("".join(form[place == index].video(f"v{index}", RECORDS) for index in range(3)))
    with pytest.raises(InputError, match="another model_sha256"):
        existing(path, ["v0"])
    lines = [json_lines(made_by).video(f"v{index}", RECORDS) for index in range(3)]
    lines[place] = lines[place][7:]
    path.write_text("".join(lines))
    with pytest.raises(InputError, match="damaged"):
        existing(path, ["v0"])


def test_memory_is_that_of_the_names(tmp_path):
    path = tmp_path / "all.jsonl"
    names = [f"v{index}" for index in range(2000)]
    write(path, names)
    assert path.stat().st_size > 6_000_000
    tracemalloc.start()
    try:
        assert len(existing(path, names)) == 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


def test_what_a_crash_cut_is_removed_before_more_is_written(tmp_path):
    path = tmp_path / "all.jsonl"
    for cut in (5, 200_000):
        write(path, ["a"])
        whole = path.read_text()
        path.write_text(whole + '{"video": "' + "b" * cut)
        sink = LinesSink(path, json_lines(made_by), resume=True)
        sink.add("c", RECORDS)
        sink.close()
        assert path.read_text() == whole + json_lines(made_by).video("c", RECORDS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "p.jsonl"
    path.symlink_to("/dev/full")
    sink = LinesSink(path, json_lines(lambda: {}), resume=False)
    with pytest.raises(InputError, match=r"p\.jsonl: cannot write: No space left"):
        sink.add("a", [{"label": "Jump"}])
    sink.close()
