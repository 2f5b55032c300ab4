"""The lines of a live process, as whoever watches it reads them."""

import io
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import co2net_runtime

ROOT = Path(co2net_runtime.__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "live-events.schema.json").read_text())
UNIT = ROOT / "runtime" / "service" / "co2net-live.service"
PROGRAM = "from co2net_runtime.cli.infer import main; main()"
PATIENCE_S = 300


def npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def start(*arguments, **more):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, **more)


def check(lines):
    for line in lines:
        jsonschema.validate(line, SCHEMA)


def wait_for(stream, text):
    assert any(text in line for line in iter(stream.readline, b""))


def until(process, kind):
    """Return the events up to the first of this kind."""
    found = []
    for line in iter(process.stdout.readline, b""):
        found.append(json.loads(line))
        if found[-1]["kind"] == kind:
            return found
    raise AssertionError(f"no {kind} in {found}")


def test_health_on_stdout_figures_and_watchdog(tiny_path, videos, tmp_path):
    (rows,) = videos(200)
    address = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        process = start(
            tiny_path, "--live", f"door=unix:{address}", "--health", "0.3", "--stall", "1",
            "--provisional", "2", "--metrics", tmp_path / "live.prom", "--log-format", "json",
            "--http", "127.0.0.1:0",
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        try:
            assert manager.recv(100) == b"READY=1"
            bad = rows[100:102].copy()
            bad[1] = np.nan
            with socket.socket(socket.AF_UNIX) as producer:
                producer.connect(str(address))
                producer.sendall(npy(rows[:100]) + npy(bad))
                lines = until(process, "bad_input")
                lines += until(process, "heartbeat")
                lines += until(process, "stalled")
            lines += until(process, "disconnected")
            assert manager.recv(100) == b"WATCHDOG=1"
            log = [json.loads(process.stderr.readline()) for _ in range(2)]
            url = next(line["text"] for line in log if "http" in line["text"]).split(",")[0]
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                assert (
                    b'co2net_live_events_total{stream="door",kind="bad_input"} 1' in answer.read()
                )
            process.terminate()
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130
    lines += [json.loads(line) for line in out.splitlines()]
    check(lines)
    for line in err.splitlines():
        assert json.loads(line)["text"]
    ongoing = {line["id"] for line in lines if line["kind"] == "ongoing"}
    assert ongoing
    assert ongoing <= {line["id"] for line in lines if line["kind"] == "segment"}
    bad = next(line for line in lines if line["kind"] == "bad_input")
    assert (bad["stream"], bad["snippets"], bad["at_snippet"]) == ("door", 1, 101)
    text = (tmp_path / "live.prom").read_text()
    assert 'co2net_live_snippets_total{stream="door"} 102.0' in text
    assert 'co2net_live_events_total{stream="door",kind="disconnected"} 1.0' in text


def test_without_health_segments_alone_are_written(tiny_path, videos):
    (rows,) = videos(60)
    rows[10] = np.inf
    process = start(tiny_path, "--live", "-")
    out, _ = process.communicate(npy(rows), timeout=PATIENCE_S)
    lines = [json.loads(line) for line in out.splitlines()]
    check(lines)
    assert {line["kind"] for line in lines} == {"segment"}
    assert len({line["model_sha256"] for line in lines}) == 1


def test_the_schema_refuses_what_is_no_event():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "heartbeat", "stream": "door"}, SCHEMA)


def test_the_unit_calls_options_that_exist():
    from co2net_runtime.cli.live import live

    (line,) = (one for one in UNIT.read_text().splitlines() if one.startswith("ExecStart="))
    words = shlex.split(line)
    known = {name for option in live.params for name in option.opts} | {"--live"}
    assert {word for word in words if word.startswith("--")} <= known
    assert "Type=notify" in UNIT.read_text()


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto-clients")
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
def test_the_mqtt_recipe(tiny_path, videos, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    (rows,) = videos(60)
    pipe = subprocess.PIPE
    broker = subprocess.Popen(["mosquitto", "-v", "-c", config], stderr=pipe)
    try:
        wait_for(broker.stderr, b"running")
        recipe = ["-h", "127.0.0.1", "-p", port, "-t", "co2net/events", "-q", "1"]
        live = start(tiny_path, "--live", "door=-")
        out, _ = live.communicate(npy(rows), timeout=PATIENCE_S)
        expected = out.splitlines()
        count = str(len(expected))
        with subprocess.Popen(["mosquitto_sub", *recipe, "-C", count], stdout=pipe) as listener:
            wait_for(broker.stderr, b"SUBACK")
            reader = threading.Thread(target=broker.stderr.read, daemon=True)
            reader.start()
            subprocess.run(["mosquitto_pub", *recipe, "-l"], input=out, check=True, timeout=60)
            heard, _ = listener.communicate(timeout=PATIENCE_S)
    finally:
        broker.terminate()
        broker.wait()
    reader.join()
    broker.stderr.close()
    assert heard.splitlines() == expected
