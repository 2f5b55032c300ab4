"""The loggers record at Weights & Biases and MLflow without a network, and only when asked to."""

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from co2net.training import loggers
from co2net.training.loggers import open_loggers
from co2net.training.run_folder import RunFolder
from co2net_runtime.errors import InputError, MissingDependencyError

SETTINGS = {"seed": 7, "loss.topk_divisor": 5}
ROOT = Path(__file__).parents[3]
PATHS = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    # what the loggers set for the process is gone after the test
    monkeypatch.setattr(os, "environ", os.environ.copy())
    folder = tmp_path / "run"
    folder.mkdir()
    return RunFolder(folder)


def record(name, run, iterations):
    (logger,) = open_loggers([name], run, iterations[0], SETTINGS)
    for iteration in iterations:
        logger.scalars({"train/total": 3.0 / iteration}, iteration)
    logger.scalars({"test/mAP 0.1:0.7": 0.5}, iterations[-1])
    logger.close(failed=False)
    return logger


def wandb_records(path):
    """Yield the protocol buffers of an offline run: a file in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    blocks, content = io.BytesIO(path.read_bytes()[7:]), b""
    at = 7
    while head := blocks.read(7):
        if len(head) < 7 or 32768 - at % 32768 < 7:
            return
        _, length, kind = struct.unpack("<IHB", head)
        content += blocks.read(length)
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(content)
            content = b""


def wandb_history(run):
    rows = []
    for path in sorted(run.wandb.glob("offline-run-*/*.wandb")):
        for each in wandb_records(path):
            if each.HasField("history"):
                values = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in each.history.item
                }
                rows.append({k: v for k, v in values.items() if not k.startswith("_")})
    return rows


def test_wandb_keeps_the_run_offline_and_a_resume_has_its_id(run, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    try:
        assert "wandb sync" in record("wandb", run, [1, 2]).place
        record("wandb", run, [3])
    finally:
        wandb.teardown()
    history = wandb_history(run)
    assert history[0] == {"train/total": 3.0, "iteration": 1}
    assert [row["iteration"] for row in history] == [1, 2, 2, 3, 3]
    assert history[-1] == {"test/mAP 0.1:0.7": 0.5, "iteration": 3}
    files = list(run.wandb.glob("offline-run-*/*.wandb"))
    assert {path.name for path in files} == {
        f"run-{json.loads(run.loggers.read_text())['wandb']}.wandb"
    }
    (settings, *_) = [each.run for each in wandb_records(files[0]) if each.HasField("run")]
    assert settings.project == "co2net"
    assert {
        u.key: json.loads(u.value_json) for u in settings.config.update if u.key in SETTINGS
    } == SETTINGS


def test_mlflow_keeps_the_run_in_its_folder_and_a_resume_continues_it(run):
    mlflow = pytest.importorskip("mlflow")
    first = record("mlflow", run, [1, 2])
    assert first.place == record("mlflow", run, [3]).place
    client = mlflow.MlflowClient(tracking_uri=run.mlruns.as_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "co2net"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params == {"seed": "7", "loss.topk_divisor": "5"}
    history = client.get_metric_history(found.info.run_id, "train/total")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 1.5), (3, 1.0)]
    assert found.data.metrics["test/mAP 0.1:0.7"] == 0.5


def test_a_server_that_is_not_there_is_one_line(run, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setitem(os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"^mlflow: .*check MLFLOW_TRACKING_URI") as error:
        open_loggers(["mlflow"], run, 1, SETTINGS)
    assert "\n" not in str(error.value)


def test_a_login_that_is_missing_is_one_line(run, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    try:
        with pytest.raises(InputError, match=r"^wandb: .*WANDB_MODE=offline"):
            open_loggers(["wandb"], run, 1, SETTINGS)
    finally:
        wandb.teardown()


def test_neither_is_imported_unless_asked_for(tmp_path):
    program = """
import sys
from co2net.training.metrics import MetricsWriter
from co2net.training.run_folder import RunFolder
from pathlib import Path
with MetricsWriter(RunFolder(Path(sys.argv[1])), 1) as metrics:
    metrics.iteration(1, {"total": 1.0})
sys.exit(bool({"wandb", "mlflow"} & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, env=PATHS, check=True)


def test_a_package_that_is_missing_is_named(run, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'co2net\[wandb\]'"):
        open_loggers(["wandb"], run, 1, SETTINGS)
