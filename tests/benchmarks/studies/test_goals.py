"""co2net-bench goals: every point on tiny models, in real processes; no time is judged."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from co2net_benchmarks.runners.process import TargetError
from co2net_benchmarks.timing import Interval
from co2net_runtime.options import DecodeOptions
from studies import decoder_speed
from studies.decoder_speed import Curves, smooth_curves
from studies.goals import cli, network, resources
from studies.goals.fresh import INFER, run_fresh
from studies.goals.judging import Goal, exactly, faster, goals_table, within
from studies.goals.points import POINTS

DATA = Path(__file__).parents[2] / "runtime" / "data"


@pytest.fixture(scope="module")
def files(tiny):
    """The arguments: checkpoint, three artefacts of it, a dataset."""
    spec = importlib.util.spec_from_file_location("make_tiny", DATA / "make_tiny.py")
    make_tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tiny)
    make_tiny.write_dataset(tiny.folder / "data")
    optimised = shutil.copy(DATA / "tiny_cpu.onnx", tiny.folder)
    int8 = shutil.copy(DATA / "tiny.int8-cpu.onnx", tiny.folder)
    return (tiny.checkpoint, tiny.artefact, optimised, int8, "--features", tiny.folder / "data")


@pytest.fixture
def small(monkeypatch):
    """Take what is short of everything."""
    monkeypatch.setattr(network, "LENGTHS", (1, 90))
    monkeypatch.setattr(network, "AFTER_LONG_ONES", (1,))
    monkeypatch.setattr(network, "INT8_TARGETS", {20: 1.5})
    monkeypatch.setattr(network, "TURN_S", 0.001)
    monkeypatch.setattr(resources, "LENGTH", 90)
    options = DecodeOptions()
    cases = [
        Curves("compared", *smooth_curves(60), options, 1.5e-3, None, True),
        Curves("worst", *smooth_curves(80), options, 2.0, 500_000_000, False),
    ]
    monkeypatch.setattr(decoder_speed, "speed_cases", lambda: cases)


def goals(*arguments):
    given = [*map(str, arguments), "--rounds", "1", "--threads", "1"]
    return CliRunner().invoke(cli.goals, given)


ROWS = {
    1: (
        "optimised, T = 1",
        "optimised, ONNX Runtime alone, T = 1",
        "optimised, T = 90",
        "optimised, ONNX Runtime alone, T = 90",
        "optimised, T = 1, after long ones",
        "optimised, ONNX Runtime alone, T = 1, after long ones",
        "optimised, error at T = 1 to 90",
    ),
    2: ("int8, T = 20", "int8, segments lost, added or moved", "int8, difference of the mAP"),
    3: ("plain, 32 short videos", "optimised, 32 short videos", "int8, 32 short videos"),
    4: ("decoder, compared, T = 60", "decoder, worst, T = 80", "decoder, worst, T = 80, memory"),
    5: (
        "co2net-infer, optimised, against PyTorch",
        "co2net-infer, optimised, against its network alone",
        "co2net-infer, int8, against PyTorch",
        "co2net-infer, int8, against its network alone",
    ),
    6: (
        "co2net-infer --help",
        "import of the runtime, beyond numpy's",
        "first result, plain",
        "first result, optimised",
        "first result, int8",
    ),
    7: (
        "plain, ONNX Runtime alone, T = 90, 2 threads against 1",
        "optimised, T = 90, 2 threads against 1",
        "int8, T = 90, 2 threads against 1",
        "peak memory, plain, T = 4000",
        "peak memory, optimised, T = 4000",
        "peak memory, optimised, T = 250",
    ),
}


@pytest.mark.parametrize("point", POINTS)
def test_every_point_is_measured_and_judged(files, small, tmp_path, point):
    out = tmp_path / "goals.md"
    result = goals(*files, "--videos", 3, "--only", point, "--json", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(f"{point}: ")  # progress
    run = json.loads(result.stdout)
    assert run["kind"] == "goals"
    found = run["results"]["goals"]
    assert tuple(dict.fromkeys(goal["what"] for goal in found)) == ROWS[point]
    for goal in found:
        assert goal["point"] == point
        assert goal["reached"]["low"] <= goal["reached"]["median"] <= goal["reached"]["high"]
        if goal["unit"] == "times":
            ratio = goal["theirs"] / goal["ours"]
            ratio = ratio if goal["at_most"] is None else 1 / ratio
            assert goal["reached"]["median"] == pytest.approx(ratio)
        if goal["sides"] == "bytes":
            assert 20e6 < goal["theirs"] < 500e6
        if goal["unit"] == "error":
            assert 0 < goal["reached"]["median"] < goal["at_most"] == 1e-4
            assert goal["verdict"] == "met"
    table = out.read_text()
    assert table.count(f"\n| {point} ") == len(found)
    assert f"\n{point}: " in table


def test_points_can_be_chosen(files, small):
    result = goals(*files, "--only", 4, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    rows = [line for line in result.stdout.splitlines() if "decoder, " in line]
    assert [row.split(",")[1].strip() for row in rows] == ["compared", "worst", "worst"]
    assert "\n4: synthetic curves" in result.stdout
    assert "\n5: " not in result.stdout


def test_a_missing_file_is_told_before_the_work(files):
    result = goals(*files[:3], "missing.onnx", *files[4:])
    assert result.exit_code == 2
    assert "missing.onnx: no such file" in result.stderr
    assert result.stdout == ""


def test_an_artefact_that_fails_is_one_line(files, small, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(Path(files[1]).read_bytes()[:2000])
    result = goals(*files[:3], broken, *files[4:], "--only", 3, "--quiet")
    assert result.exit_code == 2
    assert result.stderr.startswith("goals: error: broken.onnx: cannot be measured: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("reached", "bounds", "verdict"),
    [
        (Interval(1.5, 1.3, 1.6), {"at_least": 1.4}, "met"),
        (Interval(1.39, 1.3, 1.4), {"at_least": 1.4}, "within noise"),
        (Interval(1.3, 1.2, 1.39), {"at_least": 1.4}, "missed"),
        (Interval(1.1, 1.0, 1.2), {"at_most": 1.15}, "met"),
        (Interval(1.2, 1.15, 1.3), {"at_most": 1.15}, "within noise"),
        (Interval(1.2, 1.16, 1.3), {"at_most": 1.15}, "missed"),
        (Interval(1.2, 1.16, 1.3), {}, "stated"),
    ],
)
def test_verdicts(reached, bounds, verdict):
    assert Goal(1, "a goal", reached, "times", **bounds).verdict == verdict


def test_both_sides_are_shown():
    fast = faster(1, "T = 750", [[0.1], [0.2]], [[0.2], [0.4]], at_least=1.4)
    assert fast.row == ("1 T = 750", ">= 1.40x", "2.00x", "-", "100 ms", "200 ms", "met")
    large = within(7, "memory", [[300e6]], [[200e6]], 1.3, "bytes")
    assert large.row == ("7 memory", "<= 1.30x", "1.50x", "-", "300 MB", "200 MB", "missed")
    error = Goal(1, "error", exactly(3.2e-6), "error", at_most=1e-4)
    assert error.row[1:3] == ("<= 1.0e-04", "3.2e-06")
    table = goals_table([fast, large, error], ["a note"])
    assert table.notes[0].startswith("2 of 3 met, 0 within noise")
    assert table.notes[0].endswith("1 missed.")


def test_a_process_that_fails_says_why():
    with pytest.raises(TargetError, match=r"^co2net-infer: error: model.onnx: no such file"):
        run_fresh(INFER, "model.onnx", "missing.npy")
