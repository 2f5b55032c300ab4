"""co2net-infer --live as users run it: processes, pipes, sockets, signals."""

import io
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.infer import main
from co2net_runtime.errors import InputError
from co2net_runtime.files.npy import MAGIC
from co2net_runtime.live.arrivals import NOTHING, Arrival
from co2net_runtime.live.pool import LiveLocalizer
from co2net_runtime.live.snippet_queue import StreamQueue
from co2net_runtime.live.sources import open_source

# only so that a failure does not hang: a loaded machine may take as long as it needs
PATIENCE_S = 300
ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


def npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def start(*arguments, stdin=subprocess.DEVNULL):
    program = "from co2net_runtime.cli.infer import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def run(*arguments, stdin=b""):
    process = start(*arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(stdin, timeout=PATIENCE_S)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def read_until(stream, text):
    """Return the first line that holds the text."""
    return next(line for line in iter(stream.readline, b"") if text in line.decode()).decode()


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def expected(tiny_path, videos):
    (features,) = videos(80)
    with LiveLocalizer.load(tiny_path, engine=ENGINE) as live:
        events = live.push(features) + live.flush()
    return features, [(e.label, e.start_s, e.end_s) for e in events]


def keys(events):
    return [(event["label"], event["start_s"], event["end_s"]) for event in events]


@pytest.mark.parametrize("form", ["raw", "npy"])
def test_stdin(tiny_path, expected, form):
    features, events = expected
    blocks = [features[i : i + 7] for i in range(0, 80, 7)]
    data = features.tobytes() if form == "raw" else b"".join(npy(block) for block in blocks)
    code, found, err = run(tiny_path, "--live", "-", stdin=data)
    assert (code, keys(found)) == (0, events)
    assert {event["stream"] for event in found} == {"stdin"}
    assert "1 stream, outputs 1.92 s behind" in err


def test_events_come_while_the_producer_goes_on(tiny_path, expected):
    features, events = expected
    process = start(tiny_path, "--live", "-", stdin=subprocess.PIPE)
    process.stdin.write(features.tobytes())
    first = json.loads(process.stdout.readline())
    assert (first["label"], first["start_s"], first["end_s"]) == events[0]
    assert process.poll() is None
    process.communicate(timeout=PATIENCE_S)


def test_truncated_and_nan(tiny_path, videos):
    (features,) = videos(40)
    features[20, 3] = np.nan
    data = features.tobytes() + b"123"
    code, found, err = run(tiny_path, "--live", "-", stdin=data)
    assert code == 1
    assert found
    assert "snippet 20 holds NaN" in err
    assert "the previous snippet replaces them" in err
    assert "3 bytes of an unfinished snippet" in err
    code, _, err = run(tiny_path, "--live", "-", "--on-bad", "end", stdin=data)
    assert code == 1
    assert "the stream ends" in err


def test_wrong_width_is_reported_and_time_goes_on(tiny_path, videos):
    before, after = videos(20, 30)
    stand_in = np.concatenate([before, before[-1:].repeat(5, 0), after])
    with LiveLocalizer.load(tiny_path, engine=ENGINE) as live:
        events = [(e.label, e.start_s, e.end_s) for e in live.push(stand_in) + live.flush()]
    data = npy(before) + npy(np.ones((5, 9), np.float32)) + npy(after)
    code, found, err = run(tiny_path, "--live", "-", stdin=data)
    assert (code, keys(found)) == (0, events)
    assert "a block of shape (5, 9), float32: expected floating-point snippets of 16 chan" in err
    assert "(snippet 20)" in err


def test_several_streams_from_growing_files_and_folders(tiny_path, expected, tmp_path):
    features, events = expected
    np.save(tmp_path / "file.npy", features)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(0, 80, 20):
        np.save(folder / f"{i:03d}.npy", features[i : i + 20])
    (tmp_path / "streams").write_text(f"\ufeff# cameras\nfolder={folder}\n", encoding="utf-8")
    code, found, err = run(
        tiny_path, "--live", tmp_path / "file.npy", "--streams", tmp_path / "streams",
        "--end-after", "1.5",
    )  # fmt: skip
    assert code == 0
    for stream in ("file", "folder"):
        assert keys(event for event in found if event["stream"] == stream) == events
    assert len(re.findall(r"no snippet for \d+ s; the stream ends", err)) == 2


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_sockets_outlive_their_producers(tiny_path, expected, tmp_path, kind):
    features, events = expected
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket() as reserved:
        # bound and not listening, it keeps the port from everybody but the process under test
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        path = str(tmp_path / "s")
        text = f"unix:{path}" if kind == "unix" else f"tcp:127.0.0.1:{port}"
        process = start(tiny_path, "--live", f"cam={text}")
        read_until(process.stderr, "outputs 1.92 s behind")
        for data in (features.tobytes(), features.tobytes() + b"12"):
            with socket.socket(family) as producer:
                producer.connect(path if kind == "unix" else ("127.0.0.1", port))
                producer.sendall(data)
            message = read_until(process.stderr, "the producer has closed the connection")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    found = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 130
    assert "(2 bytes of an unfinished snippet: raw snippets are 64 bytes" in message
    assert not Path(path).exists()
    assert keys(found)[: len(events)] == events
    assert min(e["start_s"] for e in found[len(events) :]) >= 80 * 0.64 - 1e-9


def test_a_killed_process_goes_on_from_its_state(tiny_path, videos, tmp_path):
    (features,) = videos(120)
    with LiveLocalizer.load(tiny_path, engine=ENGINE) as live:
        expected = {(e.label, e.start_s, e.end_s) for e in live.push(features) + live.flush()}
    path, state = tmp_path / "growing.npy", tmp_path / "state.npz"
    header = npy(np.zeros((1, 16), np.float32))[:-64]
    path.write_bytes(header)
    arguments = (tiny_path, "--live", path, "--state", state, "--state-every", 0)
    lines, given = [], 0
    for part in (13, 31, 37):
        process = start(*arguments)
        stamp = state.stat().st_mtime_ns if state.exists() else 0
        with path.open("ab") as file:
            file.write(features[given : given + part].tobytes())
        given += part
        wait_until(lambda s=stamp: state.exists() and state.stat().st_mtime_ns > s)
        process.send_signal(signal.SIGKILL)
        lines += process.communicate(timeout=PATIENCE_S)[0].splitlines()
    with path.open("ab") as file:
        file.write(features[given:].tobytes())
    code, found, err = run(*arguments, "--end-after", "1.5")
    assert code == 0
    assert f"going on from {state}" in err
    whole = [line for line in lines if line.endswith(b"}")]
    assert {*keys(found), *keys(json.loads(line) for line in whole)} == expected


def test_blocks_without_channels_and_floods_leave_the_other_streams_alone(
    tiny_path, expected, tmp_path
):
    features, events = expected
    np.save(tmp_path / "good.npy", features)
    (tmp_path / "f").mkdir()
    width0 = npy(np.zeros((0, 16), np.float32)).replace(b"(0, 16), }    ", b"(1000000000, 0)}")
    (tmp_path / "f" / "0.npy").write_bytes(width0)
    code, found, err = run(
        tiny_path, "--live", "cam=-", tmp_path / "good.npy", tmp_path / "f", "--end-after", "2",
        stdin=width0 + npy(features) + MAGIC * 50_000 + npy(features[:5]),
    )  # fmt: skip
    assert code == 0, err
    assert keys(event for event in found if event["stream"] == "good") == events
    assert keys(event for event in found if event["stream"] == "cam")[: len(events)] == events
    assert err.count("an array of shape (1000000000, 0)") == 2
    assert err.count("that are no .npy block left out") < 20


def test_a_state_that_cannot_be_saved_is_said_once_and_tried_again(tiny_path, expected, tmp_path):
    features, events = expected
    folder = tmp_path / "gone"
    process = start(
        tiny_path, "--live", "-", "--state", folder / "s.npz", "--state-every", 0,
        stdin=subprocess.PIPE,
    )  # fmt: skip
    read_until(process.stderr, "outputs 1.92 s behind")
    shutil.rmtree(folder)
    process.stdin.write(features.tobytes()[:-1])
    read_until(process.stderr, "s.npz: cannot be saved")
    folder.mkdir()
    process.stdin.write(features.tobytes()[-1:])
    read_until(process.stderr, "s.npz: saved again")
    shutil.rmtree(folder)
    process.send_signal(signal.SIGINT)  # what is open is written since it cannot be saved
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert keys(json.loads(line) for line in out.splitlines()) == events
    assert b"Traceback" not in err


@pytest.mark.parametrize("damage", ["cut", "nan", "text"])
def test_a_damaged_state_is_named(tiny_path, videos, tmp_path, damage):
    state = tmp_path / "s.npz"
    with LiveLocalizer.load(tiny_path, engine=ENGINE) as live:
        live.push(videos(30)[0])
        arrays = live.state()
    if damage == "nan":
        arrays["0/carried"] = arrays["0/carried"] * np.nan
    np.savez(state, **arrays)
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:204])
    if damage == "text":
        state.write_text("PK")
    code, _, err = run(tiny_path, "--live", "stdin=-", "--state", state)
    assert code == 2
    assert "s.npz: damaged, no state of streams" in err
    assert "move it away to start over" in err
    assert len(err.strip().splitlines()) == 2


def test_interrupted_writes_what_is_open(tiny_path, expected, tmp_path):
    features, events = expected
    np.save(tmp_path / "f.npy", features)
    process = start(tiny_path, "--live", tmp_path / "f.npy", "--stall", "0.5")
    read_until(process.stderr, "no snippet for")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert keys(json.loads(line) for line in out.splitlines()) == events


def test_usage_errors(tiny_path, tmp_path):
    for arguments, text in [
        ([], "no stream"),
        (["-", "b=-"], "stdin can be one stream only"),
        (["a=x.npy", "a=y.npy"], "needs a name of its own"),
        (["a="], "a=: names no source"),
        (["a=tcp:10.0.0.1:80"], "producers on this machine"),
        (["a=tcp:here"], "expected tcp:127.0.0.1:PORT"),
        (["a=nothing"], "expected -, FILE.npy"),
        (["a=tcp:127.0.0.1:65536"], "PORT from 1 to 65535"),
        (["a=tcp:127.0.0.1:0"], "PORT from 1 to 65535"),
        (["a=unix:"], "expected unix:PATH"),
        (["rtsp://camera"], "rtsp://camera: "),
        (["-", "--state", str(tmp_path)], "a folder, expected the name of a file to write"),
        (["-", "--state", "/dev/null/x"], "/dev/null"),
        (["-", "--context", "prior"], "holds no mean of its training features"),
        (["-", "--streams", str(tmp_path / "none")], "none: cannot read the list of streams"),
    ]:
        done = CliRunner().invoke(main, [str(tiny_path), "--live", *arguments])
        assert done.exit_code == 2, arguments
        assert text in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert "--overflow" in CliRunner().invoke(main, ["--live", "--help"]).stdout


class Fast:
    """A producer that never waits."""

    def __init__(self, count):
        self.count = count

    def arrivals(self, stop, position):  # noqa: ARG002  # it never stops by itself
        for i in range(position, self.count):
            yield Arrival(np.full((1, 2), i, np.float32))


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_a_queue_is_bounded(overflow):
    queue = StreamQueue(Fast(200), 10, overflow, lambda: None)
    queue.start(0)
    values, lost, ended, longest = [], 0, False, 0
    if overflow == "drop":
        queue._thread.join()
    while not ended:
        taken = queue.take(1000)
        lost += taken.lost
        longest = max(longest, len(taken.arrivals))
        values += [int(arrival.rows[0, 0]) for arrival in taken.arrivals]
        ended = taken.ended
    assert longest <= 11
    if overflow == "block":
        assert (values, lost) == (list(range(200)), 0)
    else:
        assert (values, lost) == (list(range(190, 200)), 190)


@pytest.mark.parametrize(
    ("said", "silent_s"), [(["row"], 0), (["row", NOTHING, NOTHING], 2), ([NOTHING, "row"], 0)]
)
def test_silence_is_what_the_source_found_when_it_looked(monkeypatch, said, silent_s):
    """Time that passes while nobody looks, as before the first look here, is no silence."""
    clock = itertools.count()
    monkeypatch.setattr(
        "co2net_runtime.live.snippet_queue.time", SimpleNamespace(monotonic=lambda: next(clock))
    )

    class Saying:
        def arrivals(self, stop, position):  # noqa: ARG002  # it ends by itself
            for one in said:
                yield NOTHING if one is NOTHING else Arrival(np.ones((1, 2), np.float32))

    queue = StreamQueue(Saying(), 10, "block", lambda: None)
    for _ in range(100):
        next(clock)
    queue.start(0)
    queue._thread.join()
    assert queue.silent_s == silent_s


def test_a_taken_address_is_refused_and_a_stale_one_is_not(tmp_path):
    path = tmp_path / "s"
    first = open_source(f"unix:{path}", 16)
    with pytest.raises(InputError, match="cannot listen there"):
        open_source(f"unix:{path}", 16)
    first._socket.close()
    second = open_source(f"unix:{path}", 16)
    stop = threading.Event()
    stop.set()
    assert list(second.arrivals(stop, 0)) == []
    assert not path.exists()


def test_the_engine_is_chosen_as_for_files(tiny_path):
    code, _, err = run(tiny_path, "--live", "-", "--backend", "onnxruntime", "--threads", "1")
    assert code == 0
    assert "1.92 s behind, onnxruntime" in err
    code, _, err = run(tiny_path, "--live", "-", "--device", "cuda:0")
    assert code == 2
    assert "cuda:0: live streams run on the CPU" in err
