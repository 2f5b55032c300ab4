"""co2net-bench report: the page, its JSON and Markdown; comparing two runs."""

import dataclasses
import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from co2net_benchmarks.accuracy.results import AccuracyResults
from co2net_benchmarks.cli.group import main
from co2net_benchmarks.hardware.machine import Machine
from co2net_benchmarks.latency.offline import OfflineResult
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.latency.single_stream import ColdStart, LengthResult
from co2net_benchmarks.parity.results import ParityResults
from co2net_benchmarks.report.compare_runs import compare_runs
from co2net_benchmarks.report.report import Report
from co2net_benchmarks.run_file import SCHEMA_VERSION, Run, read_runs, report_json
from co2net_benchmarks.runners.runner import RunnerInfo
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio, summarize
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping, to_mapping

MACHINE = Machine("Linux 6", "x86_64", "Some CPU", 2, 2**34, None, True, 0.5, {"python": "3.11"})


def length_result(target, length, totals, base, rss=100_000_000):
    turns = tuple((total,) for total in totals)
    parts = {"read": 0.1, "network": 0.7, "decode": 0.2}
    stages = {name: summarize([share * x for x in totals]) for name, share in parts.items()}
    return LengthResult(
        target, length, {**stages, "total": summarize(totals)}, median_interval(totals),
        paired_ratio(turns, [(x,) for x in base]), 12, rss, 0.0, turns,
    )  # fmt: skip


def latency_results(speed=1.0, names=("a<b>.onnx", "model|x.ckpt")):
    """Two targets at two lengths, one not installed, in all scenarios."""
    base = [0.010, 0.011, 0.010, 0.012, 0.010, 0.010, 0.011, 0.010]
    ours = [x * 0.5 * speed for x in base]
    infos = [RunnerInfo(name, "runtime", name, 5_000_000, "measured", engine="e") for name in names]
    infos.append(RunnerInfo("openvino", "openvino", "o", 5, "not installed", "no openvino here"))
    rows = []
    for length in (50, 250):
        rows.append(length_result(names[0], length, base, base))
        rows.append(length_result(names[1], length, ours, base))
    flat = Interval(1.0, 1.0, 1.0)
    return LatencyResults(
        targets=tuple(infos),
        snippet_s=0.64,
        gemm_flops={"numpy": 3e11},
        lengths=tuple(rows),
        cold_starts=(ColdStart(names[0], 50, 0.1, 0.2, 0.1, 0.02, summarize([0.42 * speed]), 1),),
        offline=tuple(
            OfflineResult(name, 3, 600, 1.0, Interval(600 / speed, 500, 700), 384, flat, 9, 1)
            for name in names
        ),
    )


def run_of(results, kind="latency", machine=MACHINE):
    command = ("co2net-bench", kind, "x.onnx")
    return Run(kind, "2026-01-02T03:04:05+00:00", command, machine, {}, to_mapping(results))


def write(path, *runs):
    path.write_text(runs[0].to_json() if len(runs) == 1 else report_json(runs))
    return path


def report(*arguments):
    return CliRunner().invoke(main, ["report", *(str(argument) for argument in arguments)])


def test_run_files_round_trip(tmp_path):
    run = run_of(latency_results())
    (again,) = read_runs(write(tmp_path / "run.json", run))
    assert again == dataclasses.replace(run, command=again.command, results=again.results)
    assert from_mapping(LatencyResults, again.results, "run") == latency_results()
    assert json.loads(run.to_json())["schema_version"] == SCHEMA_VERSION


def test_a_reports_json_holds_its_runs(tmp_path):
    runs = (run_of(latency_results()), run_of(latency_results(2)))
    found = read_runs(write(tmp_path / "report.json", *runs))
    assert [run.results for run in found] == [json.loads(run.to_json())["results"] for run in runs]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "expected a run of co2net-bench as JSON"),
        ("[1]", "not a run file of co2net-bench"),
        ('{"format": "other"}', "not a run file of co2net-bench"),
        ('{"format": "co2net-bench-run", "schema_version": 99}', "schema version 99"),
        ('{"format": "co2net-bench-run", "schema_version": 1}', "'kind' is missing"),
        ('{"format": "co2net-bench-report", "schema_version": 1}', "'runs' are not a list"),
    ],
)
def test_damaged_run_files_are_refused(tmp_path, content, words):
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_runs(path)
    result = report(path, "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()


def test_unknown_kind_is_refused(tmp_path):
    path = write(tmp_path / "run.json", run_of(latency_results(), kind="weather"))
    result = report(path, "-o", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "does not know runs of that kind" in result.stderr


def test_page_is_self_contained_and_escaped(tmp_path):
    other = dataclasses.replace(MACHINE, cpu="Another CPU")
    offline = dataclasses.replace(latency_results(), lengths=(), cold_starts=())
    path = write(tmp_path / "in.json", run_of(latency_results()), run_of(offline, machine=other))
    result = report(path, "-o", tmp_path / "out.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "out.html").read_text()
    # nothing is loaded: the only addresses are names of XML namespaces
    assert set(re.findall(r"https?://[^\"' <]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "<script" not in page
    assert not re.search(r"<(img|link|iframe)", page)
    assert "a&lt;b&gt;.onnx" in page
    assert "a<b>.onnx" not in page
    assert page.count("<svg") == 3  # of the run with lengths and cold starts
    for text in ("Offline: 3 videos", "Cold start", "no openvino here"):
        assert text in page
    assert "Not from one machine: cpu: Some CPU against Another CPU" in page


def test_markdown_json_and_a_picture_stand_beside_the_page(tmp_path):
    path = write(tmp_path / "in.json", run_of(latency_results()))
    result = report(path, "-o", tmp_path / "out.html")
    assert result.stdout.split() == [
        str(tmp_path / f"out.{end}") for end in ("html", "json", "md", "png")
    ]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert any("model\\|x.ckpt" in line for line in lines)
    # every row of a table is as wide as its head
    width = 0
    for line in lines:
        cells = len(re.split(r"(?<!\\)\|", line))
        assert cells in (1, width) or width == 0
        width = cells if line.startswith("|") else 0
    assert len(read_runs(tmp_path / "out.json")) == 1


def test_comparison_fails_on_what_got_worse(tmp_path):
    old = write(tmp_path / "old.json", run_of(latency_results()))
    same = report("--compare", old, old, "--fail-over", "10%")
    assert same.exit_code == 0, same.stdout
    slower = write(tmp_path / "new.json", run_of(latency_results(1.2)))
    result = report("--compare", old, slower, "--fail-over", "10%")
    assert result.exit_code == 3
    assert re.search(r"\+20\.0 % +overlap +regressed", result.stdout)
    assert re.search(r"\+20\.0 % +- +regressed", result.stdout)
    assert "figures got worse" in result.stderr
    assert report("--compare", old, slower, "--fail-over", "25").exit_code == 0
    assert report("--compare", old, slower, "--fail-over", "10").exit_code == 3
    assert report("--compare", slower, old, "--fail-over", "10%").exit_code == 0


def test_a_target_that_vanished_fails_the_gate(tmp_path):
    old = write(tmp_path / "old.json", run_of(latency_results()))
    new = write(tmp_path / "new.json", run_of(latency_results(names=("a<b>.onnx", "fresh"))))
    result = report("--compare", old, new)
    assert result.exit_code == 3
    assert "missing" in result.stdout
    assert "new" in result.stdout
    assert "model|x.ckpt; if that is meant, add --allow-missing" in result.stderr
    assert report("--compare", old, new, "--allow-missing").exit_code == 0
    # a target that is new is none that vanished
    more = write(
        tmp_path / "more.json", run_of(latency_results()), run_of(latency_results(names=("c", "d")))
    )
    assert report("--compare", old, more).exit_code == 0


def test_run_files_of_schema_1_are_read(tmp_path):
    """They hold a scenario that is gone, and targets without the width of their features."""
    document = json.loads(run_of(latency_results()).to_json())
    document["schema_version"] = 1
    document["results"]["server"] = []
    for target in document["results"]["targets"]:
        del target["feature_dim"], target["snippet_s"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    (run,) = read_runs(path)
    assert from_mapping(LatencyResults, run.results, "run") == latency_results()


def test_energy_of_run_files_of_schema_2_is_left_out(tmp_path):
    document = json.loads(run_of(latency_results()).to_json())
    document["schema_version"] = 2
    document["results"]["energy_meter"] = "whole board"
    for row in document["results"]["offline"]:
        row["joules_per_video_minute"] = 1.5
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    (run,) = read_runs(path)
    assert from_mapping(LatencyResults, run.results, "run") == latency_results()


def test_relative_comparison_survives_a_slower_machine():
    """Everything twice as slow: the seconds regress, the ratios do not."""
    old, new = latency_results(), latency_results()
    slow = tuple(
        dataclasses.replace(row, p50_s=Interval(*(2 * x for x in vars(row.p50_s).values())))
        for row in new.lengths
    )
    new = dataclasses.replace(new, lengths=slow)
    absolute = compare_runs([old], [new], 0.1)
    assert any(change.verdict == "regressed" for change in absolute)
    assert {change.overlap for change in absolute if "p50" in change.measure} == {False}
    relative = compare_runs([old], [new], 0.1, relative=True)
    assert {change.verdict for change in relative} == {"same"}
    assert not any("ms" in change.measure for change in relative)


@given(st.floats(0.2, 5), st.floats(0, 2))
def test_verdicts_follow_the_direction_of_each_figure(speed, fail_over):
    """speed > 1: times grow and rates shrink; both are worse."""
    changes = compare_runs([latency_results()], [latency_results(speed)], fail_over)
    for change in changes:
        if change.verdict == "regressed":
            assert change.change > fail_over
            if "/s" in change.measure:
                assert change.new < change.old
            else:
                assert change.new > change.old
        elif change.verdict == "improved":
            assert change.change < -fail_over
        else:
            assert change.verdict == "same"
            assert abs(change.change) <= fail_over
    by_measure = {(c.target, c.measure): c for c in changes}
    cold = by_measure["a<b>.onnx", "cold start, ms"]
    assert cold.change == pytest.approx(speed - 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give RUN files"),
        (["run.json"], "give the page to write"),
        (["run.json", "-o", "page.txt"], "ends in .html"),
        (["nowhere.json", "-o", "page.html"], "nowhere.json: cannot read"),
        (["--compare", "a", "b", "-o", "page.html"], "takes its two files"),
        (["--compare", "a", "b", "--fail-over", "much"], "expected a percentage"),
        (["--compare", "a", "b", "--fail-over", "0.1"], "0.1 is ambiguous: write 0.1% or 10%"),
    ],
)
def test_usage_errors_are_one_line(arguments, words):
    result = report(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_schema_document_names_every_field():
    """docs/benchmark-schema.md is the contract: a field that it does not name is undocumented."""
    text = (Path(__file__).parents[3] / "docs" / "benchmark-schema.md").read_text()
    assert f"Schema version: {SCHEMA_VERSION}." in text
    documented = set(re.findall(r"`(\w+)`", text))
    waiting: list[object] = [Run, LatencyResults, ParityResults, AccuracyResults]
    fields = set()
    while waiting:
        hint = waiting.pop()
        if dataclasses.is_dataclass(hint):
            hints = get_type_hints(hint)
            fields |= set(hints)
            waiting += hints.values()
        waiting += get_args(hint)
    assert fields <= documented


def test_speed_against_accuracy_is_drawn_of_what_was_judged():
    """mAP of a file belongs to the runtime that was judged, not to another engine."""
    ap = (0.5,) * 9
    judged = AccuracyResults(
        "some/a<b>.onnx", None, "test", "co2net", tuple(x / 10 for x in range(1, 10)), ap,
        {"0.1:0.7": 0.5, "all": 0.5}, None, 1, 1, 1, 0, (), (), (),
    )  # fmt: skip
    results = latency_results()
    made = Report([run_of(results), run_of(judged, kind="accuracy")])
    assert made.overview.speed_and_accuracy() == [("a<b>.onnx", 384, 50.0)]
    others = tuple(dataclasses.replace(info, kind="openvino") for info in results.targets)
    made = Report([run_of(dataclasses.replace(results, targets=others)), made.runs[1]])
    assert made.overview.speed_and_accuracy() == []


def test_a_run_that_lacks_what_tables_show_is_refused(tmp_path):
    run = run_of(latency_results())
    del run.results["lengths"][0]["stages"]["total"]
    done = report(write(tmp_path / "run.json", run), "-o", tmp_path / "page.html")
    assert done.exit_code == 2
    assert "its stages lack 'total'" in done.stderr
    run = run_of(latency_results())
    run.results["targets"] = run.results["targets"][1:]
    done = report(write(tmp_path / "run.json", run), "-o", tmp_path / "page.html")
    assert "which is none of its targets" in done.stderr
    text = run_of(latency_results()).to_json().replace('"snippet_s": 0.64', '"snippet_s": NaN')
    (tmp_path / "run.json").write_text(text)
    done = report(tmp_path / "run.json", "-o", tmp_path / "page.html")
    assert "a damaged run: it holds the number nan" in done.stderr
