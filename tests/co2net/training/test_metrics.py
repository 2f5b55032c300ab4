from datetime import datetime

import pytest

from co2net.results.curves import draw_curves
from co2net.training import loggers
from co2net.training.metrics import NO_TENSORBOARD, MetricsWriter, describe_scores
from co2net.training.progress import ProgressLine, ProgressMeter, duration
from co2net.training.run_folder import RunFolder
from co2net.training.validation import DetectionScores, LabelScores

DETECTION = DetectionScores(
    "test", "co2net", (0.1, 0.5), (0.6, 0.4), {"all": 0.5},
    {"jump": (0.6, 0.4), "run": None}, 0.9, 1.0,
)  # fmt: skip
LABELS = LabelScores(0.8, 2.5, 20)


def record(run, first, last):
    with MetricsWriter(run, first) as metrics:
        for iteration in range(first, last + 1):
            metrics.iteration(
                iteration, {"total": 3.0 / iteration, "seconds": 0.1, "data_seconds": 0.01}
            )
        metrics.evaluation(last, DETECTION, LABELS)
    return metrics


def test_tensorboard_reads_what_the_metrics_hold(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is in the train extra",
    )
    run = RunFolder(tmp_path)
    assert record(run, 1, 3).notes == []
    events = accumulator.EventAccumulator(str(run.tensorboard)).Reload()
    assert [e.value for e in events.Scalars("train/total")] == [3.0, 1.5, 1.0]
    assert events.Scalars("test/mAP all")[0].value == 0.5
    assert events.Scalars("holdout/loss")[0].step == 3
    (evaluated,) = [r for r in run.read_metrics() if r.get("evaluated")]
    assert evaluated["detection"]["ap"] == {"jump": [0.6, 0.4], "run": None}


def test_without_tensorboard_it_says_so_and_records_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda _name: None)
    run = RunFolder(tmp_path)
    assert record(run, 1, 2).notes == [NO_TENSORBOARD]
    assert not run.tensorboard.exists()
    assert len(run.read_metrics()) == 3


def test_processes_that_do_not_lead_write_nothing(tmp_path):
    with MetricsWriter(None, 1) as metrics:
        metrics.iteration(1, {"total": 1.0})
        metrics.evaluation(1, DETECTION, LABELS)
    assert metrics.notes == []


def test_scores_in_words():
    words = describe_scores(DETECTION, LABELS)
    assert words == (
        "test: mAP all 50.00, classification mAP 90.00; "
        "hold-out: classification mAP 80.00, loss 2.5000"
    )


@pytest.mark.parametrize("iterations", [1, 40])
def test_curves_are_drawn_of_short_and_long_runs(iterations, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is in the plot extra")
    run = RunFolder(tmp_path)
    record(run, 1, iterations)
    assert draw_curves(run).read_bytes().startswith(b"\x89PNG")


def test_durations_and_pace():
    assert [duration(s) for s in (0, 59.6, 61, 3725)] == ["0:00", "1:00", "1:01", "1:02:05"]
    meter = ProgressMeter(100)
    now = datetime(2026, 1, 2, 13, 4, 5)
    values = {"mil_orig": 1.25, "guide": 0.5, "total": 2.5, "grad_norm": 9, "learning_rate": 5e-5}
    assert meter.describe(10, 2.0, values, now) == (
        "13:04:05  iteration 10/100  ETA 3:00  2.00 s/it  loss 2.500  lr 5.00e-05  "
        "mil_orig 1.250 guide 0.500"
    )
    assert "2.10 s/it" in meter.describe(11, 3.0, values, now)


def test_a_log_gets_notes_at_once_and_status_lines_now_and_then(capsys, monkeypatch):
    line = ProgressLine()
    line.show("too early")
    monkeypatch.setattr("co2net.training.progress.LOG_INTERVAL_S", 0.0)
    line = ProgressLine()
    line.show("status")
    line.note("note")
    ProgressLine(quiet=True).note("silent")
    captured = capsys.readouterr()
    assert captured.err == "status\nnote\n"
    assert captured.out == ""
