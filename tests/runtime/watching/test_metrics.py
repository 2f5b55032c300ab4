"""Figures as Prometheus' own parser reads them."""

import json
import re
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.errors import InputError
from co2net_runtime.watching.http import serve_http
from co2net_runtime.watching.metrics import KNOWN, Metrics


def samples(text):
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found


def test_names_follow_the_rules():
    for name, (kind, _) in KNOWN.items():
        assert name.startswith("co2net_")
        assert name.endswith("_total") == (kind == "counter")


def test_any_label_is_read_back():
    metrics = Metrics()
    for name in ("plain", 'quote "', "back\\slash\n"):
        metrics.add("co2net_live_events_total", 2, stream=name, kind="segment")
        metrics.add("co2net_live_events_total", stream=name, kind="segment")
        key = ("co2net_live_events_total", ("kind", "segment"), ("stream", name))
        assert samples(metrics.text())[key] == 3


def test_a_histogram_is_read_back():
    metrics = Metrics()
    for seconds in (0.001, 0.0011, 3, 1000):
        metrics.observe("co2net_stage_seconds", seconds, stage="read")
    found = samples(metrics.text())
    buckets = {
        float(dict(key[1:])["le"]): count
        for key, count in found.items()
        if key[0] == "co2net_stage_seconds_bucket"
    }
    assert [buckets[bound] for bound in sorted(buckets)] == [1, 2, 2, 2, 2, 2, 3, 3, 3, 4]
    assert found["co2net_stage_seconds_sum", ("stage", "read")] == pytest.approx(1003.0021)
    assert found["co2net_stage_seconds_count", ("stage", "read")] == 4


def test_the_sums_are_those_of_the_summary(tiny_path, feature_folder, tmp_path):
    folder = feature_folder(5, 40, 17)
    (folder / "empty.npy").touch()
    file = tmp_path / "co2net.prom"
    arguments = [tiny_path, folder, "--out", tmp_path / "r.jsonl", "--metrics", file]
    done = CliRunner().invoke(infer_cli.main, [*map(str, arguments), "--threads", "1"])
    assert done.exit_code == 1
    found = samples(file.read_text())
    videos, records = re.search(r"(\d+) videos, (\d+) segments", done.stderr).groups()
    assert found["co2net_videos_total", ("result", "done")] == int(videos) == 3
    assert found["co2net_videos_total", ("result", "failed")] == 1
    assert found[("co2net_records_total",)] == int(records)
    assert found[("co2net_video_seconds_total",)] == pytest.approx(62 * 0.64)
    for stage, times in (("read", 4), ("network", 3), ("decode", 3)):
        assert found["co2net_stage_seconds_count", ("stage", stage)] == times
        below = found["co2net_stage_seconds_bucket", ("le", "+Inf"), ("stage", stage)]
        assert below == times
    (info,) = (key for key in found if key[0] == "co2net_model_info")
    assert len(dict(info[1:])["sha256"]) == 64
    assert not any("video_0" in str(key) for key in found)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_every_line_of_the_log_is_json(tiny_path, feature_folder, tmp_path):
    folder = feature_folder(5, 40)
    (folder / "empty.npy").touch()
    for arguments in ([tiny_path, folder], [tiny_path, tmp_path / "none.npy"], [tiny_path]):
        done = CliRunner().invoke(infer_cli.main, ["--log-format", "json", *map(str, arguments)])
        assert done.exit_code in (1, 2)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert lines
        assert {"time", "level", "text"} == {key for line in lines for key in line}
        assert any(line["level"] == "error" for line in lines)
    done = CliRunner().invoke(infer_cli.main, [str(tiny_path), str(tmp_path / "none.npy")])
    assert not done.stderr.startswith("{")


def test_http_answers():
    trouble = [""]
    metrics = Metrics()
    metrics.add("co2net_records_total", 4)
    with serve_http("127.0.0.1:0", metrics.text, lambda: trouble[0]) as (host, port):
        url = f"http://{host}:{port}"
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
            assert samples(answer.read().decode())[("co2net_records_total",)] == 4
        with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
            assert answer.read() == b"ok\n"
        trouble[0] = "stalled: door"
        for path, status in (("healthz", 503), ("other", 404)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{url}/{path}", timeout=60)
            assert caught.value.code == status
            caught.value.close()
        with (
            pytest.raises(InputError, match="cannot listen"),
            serve_http(f"{host}:{port}", str, str),
        ):
            pass
    for address in ("9100", "127.0.0.1:x", "127.0.0.1:70000"):
        with pytest.raises(InputError, match="expected HOST:PORT"), serve_http(address, str, str):
            pass
