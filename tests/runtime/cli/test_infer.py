import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.detections import read_results
from co2net_runtime.features import FeatureFile
from co2net_runtime.files.lock import lock
from co2net_runtime.output.sinks import name_formats

ROOT = Path(__file__).parents[3]


@pytest.fixture
def infer(tiny_path):
    def run(*arguments, model=tiny_path, stdin=None):
        # threads: the test machine is shared
        arguments = [str(model), *map(str, arguments), "--threads", "1"]
        return CliRunner().invoke(infer_cli.main, arguments, input=stdin)

    return run


def test_a_folder_with_broken_files_is_done_but_for_them(infer, feature_folder, tmp_path):
    folder = feature_folder(5, 40, 17, 3)
    np.save(folder / "wide.npy", np.ones((4, 20), np.float32))
    (folder / "cut.npy").write_bytes((folder / "video_000.npy").read_bytes()[:150])
    (folder / "zero.npy").touch()
    out = tmp_path / "predictions.json"
    done = infer(folder, "--out", out)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert list(read_results(out)) == [f"video_{index:03d}" for index in range(4)]
    for text in (
        "wide.npy: expected 16 channels a snippet, found shape (4, 20)",
        "cut.npy: damaged or truncated",
        "zero.npy: the file is empty",
        "3 of 7 files failed",
    ):
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_results_say_what_made_them(infer, feature_folder, tiny_path):
    done = infer(feature_folder(5), "--top-k", "2", "--backend", "onnxruntime")
    assert done.exit_code == 0
    made_by = json.loads(done.stdout)["external_data"]
    assert made_by["model"] == "tiny.onnx"
    assert len(made_by["model_sha256"]) == len(made_by["checkpoint_sha256"]) == 64
    assert made_by["engine"]["provider"] == "CPUExecutionProvider"
    assert made_by["engine"]["device"] == "cpu"
    assert made_by["options"]["class_threshold"] == 0.2
    assert made_by["options"]["top_k"] == 2


def test_every_format_holds_the_same_segments(infer, feature_folder, tmp_path):
    folder = feature_folder(5, 40, 17)
    outs = [tmp_path / f"all.{suffix}" for suffix in ("json", "jsonl", "csv")] + [tmp_path / "one"]
    done = infer(folder, *(word for out in outs for word in ("--out", out)))
    assert done.exit_code == 0
    expected = json.loads(outs[0].read_text())["results"]
    assert sum(map(len, expected.values())) > 10
    lines = [json.loads(line) for line in outs[1].read_text().splitlines()]
    assert {line["video"]: line["results"] for line in lines} == expected
    rows = list(csv.DictReader(io.StringIO(outs[2].read_text())))
    assert [
        (
            row["video"],
            float(row["start_s"]),
            float(row["end_s"]),
            row["label"],
            float(row["score"]),
            float(row["confidence"]),
        )
        for row in rows
    ] == [
        (video, *record["segment"], record["label"], record["score"], record["confidence"])
        for video, records in expected.items()
        for record in records
    ]
    for video, records in expected.items():
        assert json.loads((outs[3] / f"{video}.json").read_text())["results"] == {video: records}


def test_min_score_and_top_k_leave_out_the_rest(infer, feature_folder):
    folder = feature_folder(60)

    def scores(*options):
        records = json.loads(infer(folder, *options).stdout)["results"]["video_000"]
        return [record["score"] for record in records]

    every = scores()
    middle = sorted(every)[len(every) // 2]
    assert scores("--min-score", repr(middle)) == [s for s in every if s >= middle]
    assert sorted(scores("--top-k", "3")) == sorted(every)[-3:]
    assert len(scores("--top-k", "3", "--min-score", "1e9")) == 0


def test_classes_only_ranks_the_classes(infer, feature_folder):
    done = infer(feature_folder(30), "--classes-only")
    records = json.loads(done.stdout)["results"]["video_000"]
    assert {record["label"] for record in records} == {"Run", "Jump", "Throw"}
    scores = [record["score"] for record in records]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) < 1  # the rest is background
    assert "segment" not in records[0]


def test_subtitles_show_the_operating_point(infer, feature_folder, tmp_path):
    folder = feature_folder(60)
    assert infer(folder, "--out", tmp_path / "subs", "--format", "srt").exit_code == 0
    text = (tmp_path / "subs" / "video_000.srt").read_text()
    shown = [float(line.split()[1]) for line in text.splitlines() if line[:1].isalpha()]
    assert min(shown) >= 0.1 * max(shown) - 0.01
    every = infer(folder, "--format", "srt", "--min-score", "-9").stdout
    assert len(every) > len(text)


def test_reads_stdin(infer, videos):
    array = io.BytesIO()
    np.save(array, videos(20)[0])
    done = infer("-", stdin=array.getvalue())
    assert done.exit_code == 0
    assert list(json.loads(done.stdout)["results"]) == ["stdin"]
    done = infer("-", stdin=array.getvalue()[:500])
    assert done.exit_code == 2
    assert "stdin: damaged or truncated" in done.stderr


@pytest.mark.parametrize("out", ["all.json", "all.jsonl", "all.csv", "each"])
def test_skip_existing_goes_on_where_a_run_stopped(
    infer, feature_folder, tmp_path, out, monkeypatch
):
    folder = feature_folder(5, 40, 17, 30)
    whole, out = tmp_path / f"whole_{out}", tmp_path / out
    infer(folder, "--out", whole)
    infer(folder / "video_001.npy", folder / "video_003.npy", "--out", out)
    read = []

    def reading(self, feature_dim=None, original=FeatureFile.read):
        read.append(self.video)
        return original(self, feature_dim)

    monkeypatch.setattr(FeatureFile, "read", reading)
    done = infer(folder, "--out", out, "--skip-existing")
    assert done.exit_code == 0
    assert sorted(read) == ["video_000", "video_002"]
    assert "2 already there" in done.stderr
    assert results_of(out) == results_of(whole)
    again = infer(folder, "--out", out, "--skip-existing")
    assert again.exit_code == 0
    assert "0 videos, 0 segments; 4 already there" in again.stderr
    assert results_of(out) == results_of(whole)


def results_of(out):
    if out.is_dir():
        parts = [json.loads(file.read_text())["results"] for file in out.iterdir()]
        return {video: records for part in parts for video, records in part.items()}
    if out.suffix == ".jsonl":
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        return {line["video"]: line["results"] for line in lines}
    if out.suffix == ".csv":
        return sorted(out.read_text().splitlines())
    return json.loads(out.read_text())["results"]


def test_json_lines_survive_a_power_cut(infer, feature_folder, tmp_path):
    folder, out = feature_folder(5, 40), tmp_path / "all.jsonl"
    infer(folder, "--out", out)
    whole = out.read_bytes()
    first_line = whole.index(b"\n") + 1
    out.write_bytes(whole[: first_line + 100])
    assert infer(folder, "--out", out, "--skip-existing").exit_code == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize("out", ["all.json", "all.jsonl", "each"])
def test_skip_existing_refuses_results_made_otherwise(infer, feature_folder, tmp_path, out):
    folder, out = feature_folder(5), tmp_path / out
    infer(folder, "--out", out)
    done = infer(folder, "--out", out, "--skip-existing", "--top-k", "1")
    assert done.exit_code == 2
    assert "made with another options" in done.stderr


@pytest.mark.parametrize("name", ["all.json", "all.jsonl", "all.csv"])
def test_skip_existing_refuses_a_damaged_file(infer, feature_folder, tmp_path, name):
    out = tmp_path / name
    out.write_text("nothing of ours\n")
    done = infer(feature_folder(5), "--out", out, "--skip-existing")
    assert done.exit_code == 2
    assert "of an earlier run" in done.stderr
    assert out.read_text() == "nothing of ours\n"


def test_nothing_usable_leaves_no_file(infer, tmp_path):
    (tmp_path / "bad.npy").touch()
    out = tmp_path / "out.json"
    done = infer(tmp_path / "bad.npy", "--out", out, "--out", tmp_path / "out.jsonl")
    assert done.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.npy"]


def test_an_earlier_file_stays_until_the_new_one_is_whole(infer, tmp_path):
    (tmp_path / "bad.npy").touch()
    out = tmp_path / "out.json"
    out.write_text("earlier")
    assert infer(tmp_path / "bad.npy", "--out", out).exit_code == 2
    assert out.read_text() == "earlier"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--out", "x.txt"], "expected a folder, or a file named *.json"),
        (["--out", "x.json", "--format", "csv"], "--format csv does not fit --out x.json"),
        (["--out", "x.json", "--out", "x.json"], "names the same place twice"),
        (["--skip-existing"], "--skip-existing needs results that can be continued"),
        (["--out", "x.srt", "--skip-existing"], "--skip-existing needs"),
        (["--out", "x.eaf"], "a file of format eaf holds one video, and there are 2"),
        (["--out", "x.via.json", "--skip-existing"], "--skip-existing needs"),
        (["--media", "clip.mp4"], "expected {video} where the video's name stands"),
        (["--out", "x.srt"], "a file of format srt holds one video, and there are 2"),
        (["--classes-only", "--format", "srt"], "has no times, as --format srt needs them"),
        (["--classes-only", "--best"], "no segments of which --best could choose"),
        (["--ground-truth", "x.json"], "give --plot DIR"),
        (["--profile", "3"], "expected MIN:OPT:MAX"),
        (["--profile", "1x9:1x8:1x9"], "1 <= min <= opt <= max"),
        (["--backend", "tensorrt", "--device", "cpu"], "runs on cuda, not on cpu"),
        (["--formt", "csv"], "--format"),
    ],
)
def test_usage_errors_are_one_line(infer, feature_folder, options, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = infer(feature_folder(5, 3), *options)
    assert done.exit_code == 2
    assert text in done.stderr
    assert done.stderr.count("\n") <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_formats_come_from_names(tmp_path):
    outs = ["-", f"{tmp_path}", "a.json", "b.CSV", "c.txt", "new/"]
    assert name_formats(outs, "srt") == ["srt", "srt", "json", "csv", "srt", "srt"]
    assert name_formats(["-", "x.jsonl"], None) == ["json", "jsonl"]
    tools = ["a.via.json", "b.label-studio.json", "c.eaf"]
    assert name_formats(tools, None) == ["via", "label-studio", "eaf"]


def test_ctrl_c_finishes_the_file_and_writes_what_is_there(
    infer, feature_folder, tmp_path, monkeypatch
):
    folder, out = feature_folder(*[5] * 10), tmp_path / "out.json"
    # what the process inherited: a test run in the background ignores SIGINT
    before = signal.getsignal(signal.SIGINT)

    def interrupted(self, feature_dim=None, original=FeatureFile.read):
        if self.video == "video_003":
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, feature_dim)

    monkeypatch.setattr(FeatureFile, "read", interrupted)
    done = infer(folder, "--out", out)
    monkeypatch.undo()
    assert done.exit_code == 130
    assert "finishing the current file" in done.stderr
    assert "interrupted" in done.stderr
    found = json.loads(out.read_text())["results"]
    assert 1 <= len(found) < 10
    assert signal.getsignal(signal.SIGINT) is before
    done = infer(folder, "--out", out, "--skip-existing")
    assert done.exit_code == 0
    assert len(json.loads(out.read_text())["results"]) == 10


def test_a_test_set_with_broken_files_is_gone_on_with(infer, feature_folder, tmp_path, monkeypatch):
    """As many videos as THUMOS14 has to test on, three of them broken, stopped on the way."""
    folder, out = feature_folder(*[4] * 209), tmp_path / "predictions.json"
    (folder / "empty.npy").touch()
    (folder / "text.npy").write_text("no features")
    np.save(folder / "wide.npy", np.ones((4, 20), np.float32))

    def interrupted(self, feature_dim=None, original=FeatureFile.read):
        if self.video == "video_100":
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, feature_dim)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, "read", interrupted)
        assert infer(folder, "--out", out, "--quiet").exit_code == 130
    stopped_at = len(read_results(out))
    assert 95 <= stopped_at <= 105
    done = infer(folder, "--out", out, "--skip-existing")
    assert done.exit_code == 1
    assert f"{209 - stopped_at} videos" in done.stderr
    assert f"{stopped_at} already there" in done.stderr
    assert "3 of 212 files failed" in done.stderr
    assert done.stderr.count("co2net-infer: error:") == 3
    assert len(read_results(out)) == 209


# co2net-infer that stops while it reads the fourth file, until it is told to go on
GATED = """
import sys
from co2net_runtime.features import FeatureFile
from co2net_runtime.files.lock import lock
from co2net_runtime.cli.infer import main

def read(self, feature_dim=None, original=FeatureFile.read):
    if self.video == "video_003":
        print("at the gate", file=sys.stderr, flush=True)
        sys.stdin.readline()
    return original(self, feature_dim)

FeatureFile.read = read
main()
"""


def read_until(text, stream):
    said = []
    for line in stream:
        said.append(line)
        if text in line:
            return
    pytest.fail("".join(said))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_from_outside(feature_folder, tmp_path, tiny_path, number):
    folder, out = feature_folder(*[3] * 10), tmp_path / "out.jsonl"
    command = [sys.executable, "-c", GATED, str(tiny_path), str(folder), "--out", str(out)]
    # each step waits for what the other side says: no clock decides
    with subprocess.Popen(
        [*command, "--threads", "1"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        read_until("at the gate", process.stderr)
        process.send_signal(number)
        read_until("finishing the current file", process.stderr)
        _, rest = process.communicate("go on\n")
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    lines = out.read_text().splitlines()
    assert 1 <= len(lines) <= 4
    assert all(json.loads(line)["video"] for line in lines)
    assert f"interrupted: {10 - len(lines)} files left" in rest


def test_draws_pictures_of_what_is_chosen(infer, feature_folder, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the plot extra")
    folder = feature_folder(30)
    truth = {"database": {"video_000": {"annotations": [{"label": "Run", "segment": ["2", 4.5]}]}}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    plots = tmp_path / "plots"
    done = infer(
        folder, "--plot", plots, "--plot-format", "png", "--plot-format", "svg",
        "--ground-truth", tmp_path / "truth.json", "--quiet",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert (plots / "video_000.png").read_bytes().startswith(b"\x89PNG")
    svg = (plots / "video_000.svg").read_text()
    assert ">truth<" in svg
    assert ">Run<" in svg
    again = tmp_path / "again"
    infer(
        folder, "--plot", again, "--plot-format", "svg", "--ground-truth", tmp_path / "truth.json"
    )
    assert (again / "video_000.svg").read_text() == svg


@pytest.mark.parametrize("out", ["all.json", "all.jsonl", "all.csv", "each"])
def test_what_exists_is_refused_unless_asked(infer, feature_folder, tmp_path, out):
    folder, out = feature_folder(5, 7), tmp_path / out
    assert infer(folder, "--out", out).exit_code == 0
    before = results_of(out)
    done = infer(folder, "--out", out, "--top-k", "1")
    assert done.exit_code == 2
    assert "exists already" in done.stderr
    assert "--overwrite or --skip-existing" in done.stderr
    assert results_of(out) == before
    assert infer(folder, "--out", out, "--top-k", "1", "--overwrite").exit_code == 0
    assert results_of(out) != before
    assert infer(folder, "--out", out, "--overwrite", "--skip-existing").exit_code == 2


def test_a_second_writer_is_told_who_the_first_is(infer, feature_folder, tmp_path):
    folder = feature_folder(5)
    for out in (tmp_path / "all.json", tmp_path / "all.jsonl", tmp_path / "each"):
        held = tmp_path / "all.json.part" if out.suffix == ".json" else out
        if not out.suffix:
            out.mkdir()
        with lock(held):
            done = infer(folder, "--out", out, "--skip-existing")
        assert done.exit_code == 2
        assert f"in use by process {os.getpid()}" in done.stderr
        assert infer(folder, "--out", out, "--skip-existing").exit_code == 0


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_killed_run_is_gone_on_with(infer, feature_folder, tmp_path, monkeypatch, suffix):
    folder, out, whole = feature_folder(*[30] * 6), tmp_path / f"a.{suffix}", tmp_path / "w"
    infer(folder, "--out", whole.with_suffix(f".{suffix}"))

    class Killed(Exception):  # no error
        """As by a signal that nothing can catch."""

    def killed(self, feature_dim=None, original=FeatureFile.read):
        if self.video == "video_004":
            raise Killed
        return original(self, feature_dim)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureFile, "read", killed)
        assert isinstance(infer(folder, "--out", out).exception, Killed)
    assert not out.exists()
    done = infer(folder, "--out", out, "--skip-existing")
    assert done.exit_code == 0
    assert "0 already there" not in done.stderr
    assert "already there" in done.stderr
    assert results_of(out) == results_of(whole.with_suffix(f".{suffix}"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        out.name, "features", f"w.{suffix}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "\xff", '{"results": {"a": [1]}, "external_data": {}}', "7" * 5000]
)
@pytest.mark.parametrize("name", ["all.json", "all.jsonl", "all.csv", "each/video_000.json"])
def test_damaged_earlier_results_are_one_line(infer, feature_folder, tmp_path, name, text):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode("latin1") + b"\n")
    out = file if file.parent == tmp_path else file.parent
    done = infer(feature_folder(5), "--out", out, "--skip-existing")
    assert done.exit_code == 2
    assert f"{file}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_odd_names_are_written_and_read_back(infer, videos, tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    (features,) = videos(30)
    names = ["=1+2", "-x", "'@y", "two\nlines", "n" * 250, os.fsdecode(b"caf\xe9")]
    for name in names:
        np.save(folder / f"{name}.npy"[-255:], features)
    out = tmp_path / "all.csv"
    done = infer(folder, "--out", out, "--out", tmp_path / "all.json")
    assert done.exit_code == 0, done.stderr
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["video"] for row in csv.DictReader(file)}
    assert rows == {"'=1+2", "'-x", "''@y", "two\nlines", "n" * 250, "caf\\xe9"}
    assert "=1+2" in json.loads((tmp_path / "all.json").read_text())["results"]
    assert "6 already there" in infer(folder, "--out", out, "--skip-existing").stderr
    done = infer(folder, "--out", tmp_path / "each", "--format", "jsonl")
    assert done.exit_code == 1
    assert "a file name of more than 255 bytes" in done.stderr
    assert len(list((tmp_path / "each").iterdir())) == 5
    assert infer(folder, "--plot", tmp_path / "p", "--plot-format", "html").exit_code == 0


def test_a_newline_in_a_name_does_not_forge_a_message(infer, videos, tmp_path):
    np.save(tmp_path / "good.npy", videos(5)[0])
    (tmp_path / "a\nco2net-infer: error: all is lost\x1b[2J.npy").touch()
    done = infer(*tmp_path.glob("*.npy"))
    assert done.exit_code == 1
    assert done.stderr.count("\nco2net-infer: error:") == 1
    assert "all is lost\\x1b[2J.npy: the file is empty" in done.stderr


def test_mixed_up_arguments_are_named(infer, feature_folder, tiny_path, tmp_path):
    folder = feature_folder(5)
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"PK\x03\x04")
    other = tmp_path / "weights.bin"
    other.write_bytes(b"\x80\x02")
    for arguments, text in [
        ((folder / "video_000.npy", tiny_path), "the model comes first"),
        ((folder, tiny_path), "the model comes first"),
        ((folder, folder / "video_000.npy"), "a folder, expected a model file"),
        ((checkpoint, folder), "export it first: co2net-export"),
        ((other, folder), "export it first: co2net-export"),
        ((tiny_path, "rtsp://camera/1"), "rtsp://camera/1: an address"),
    ]:
        done = infer(*arguments[1:], model=arguments[0])
        assert done.exit_code == 2
        assert text in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_closed_standard_streams(feature_folder, tiny_path, tmp_path, closed):
    out = tmp_path / "out.json"
    program = "from co2net_runtime.cli.infer import main; main()"

    def run(*arguments):
        command = [sys.executable, "-c", program, str(tiny_path), *map(str, arguments)]
        quoted = " ".join(map(shlex.quote, command))
        return subprocess.run(
            ["sh", "-c", f"{quoted} {closed}>&-"], check=False, capture_output=True, text=True
        )

    folder = feature_folder(5)
    done = run(folder, "--out", out, "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert list(read_results(out)) == ["video_000"]
    for given in [[["--live", "-"], ["-"]], [["--live", "a=x.npy"], [folder]], []][closed]:
        done = run(*given)
        assert done.returncode == 2
        assert "closed" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_best_writes_one_segment_per_component_and_class(infer, feature_folder):
    folder = feature_folder(60)
    every = json.loads(infer(folder).stdout)["results"]["video_000"]
    best = json.loads(infer(folder, "--best").stdout)["results"]["video_000"]
    assert 0 < len(best) < len(every)
    assert [one for one in every if one in best] == best
    for one in best:
        start, end = one["segment"]
        same = [other["segment"] for other in best if other["label"] == one["label"]]
        assert sum(s < end and e > start for s, e in same) == 1
    labels = {one["label"] for one in every}
    assert {one["label"] for one in best} == labels


@pytest.mark.parametrize("name", ["all.json", "all.jsonl", "all.csv"])
def test_results_from_before_confidence_are_continued(infer, feature_folder, tmp_path, name):
    folder, out, whole = feature_folder(5, 40), tmp_path / name, tmp_path / f"whole_{name}"
    infer(folder, "--out", whole)
    infer(folder / "video_000.npy", "--out", out)
    text = out.read_text()
    if name.endswith("csv"):
        text = "".join(line.rpartition(",")[0] + "\n" for line in text.splitlines())
    else:
        text = re.sub(r', "confidence": [^,]*|, "best": false', "", text)
    assert "best" not in text
    assert "confidence" not in text
    out.write_text(text)
    assert infer(folder, "--out", out, "--skip-existing").exit_code == 0
    if name != "all.jsonl":  # whose earlier lines stay as they are
        assert results_of(out) == results_of(whole)


def test_files_for_annotation_tools(infer, feature_folder, tmp_path):
    folder = feature_folder(40, 60)
    best = json.loads(infer(folder, "--best", "--min-score", "0").stdout)["results"]
    tasks, project, elan = tmp_path / "a.label-studio.json", tmp_path / "a.via.json", tmp_path / "e"
    media = ("--min-score", "0", "--media", "clips/{video}.mov")
    outs = [word for out in (tasks, project) for word in ("--out", out)]
    assert infer(folder, *outs, *media).exit_code == 0
    assert infer(folder, "--out", elan, "--format", "eaf", *media).exit_code == 0
    (first, _) = json.loads(tasks.read_text())
    assert first["data"]["video"] == "clips/video_000.mov"
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "tiny.onnx"
    assert [one["score"] for one in prediction["result"]] == [
        one["confidence"] for one in best["video_000"]
    ]
    found = json.loads(project.read_text())
    assert [one["fname"] for one in found["file"].values()] == ["video_000.mov", "video_001.mov"]
    assert len(found["metadata"]) == sum(map(len, best.values()))
    assert sorted(path.name for path in elan.iterdir()) == ["video_000.eaf", "video_001.eaf"]
    again = infer(folder, "--out", elan, "--format", "eaf", "--skip-existing")
    assert "2 already there" in again.stderr


def test_results_fit_their_schema(infer, feature_folder, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs/predictions.schema.json").read_text())
    folder = feature_folder(40)
    for name, options in (("segment", ()), ("class", ("--classes-only",))):
        document = json.loads(infer(folder, *options).stdout)
        jsonschema.validate(document, schema)
        assert set(document) == set(schema["properties"])
        for record in document["results"]["video_000"]:
            assert set(record) == set(schema["$defs"][name]["properties"])
    assert infer(folder, "--out", tmp_path / "all.jsonl").exit_code == 0
    for line in (tmp_path / "all.jsonl").read_text().splitlines():
        found = json.loads(line)
        assert set(found) == {"video", "results", "external_data"}
        for record in found["results"]:
            jsonschema.validate(record, {**schema["$defs"]["segment"], "$defs": schema["$defs"]})
