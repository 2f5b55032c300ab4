"""co2net-infer --live from pixels, as users run it: a real RTSP server, killed and restarted."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from co2net_runtime.cli.infer import main

# only so that a failure does not hang: a loaded machine may take as long as it needs
PATIENCE_S = 120
SYSTEM_PYTHON = Path("/usr/bin/python3")  # Debian's, which the bindings of GStreamer belong to
SERVER = Path(__file__).with_name("rtsp_server.py")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class RtspServer:
    """GStreamer's server in a process of its own."""

    def __init__(self, port):
        command = [SYSTEM_PYTHON, SERVER, str(port), "door"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.listens = self.process.stdout.readline() == "listening\n"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def rtsp():
    """Start servers: rtsp(port)."""
    servers = []

    def start(port):
        servers.append(RtspServer(port))
        if not servers[-1].listens:
            pytest.skip("needs python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good")
        return servers[-1]

    if not SYSTEM_PYTHON.exists():
        pytest.skip("needs Debian's python3 with python3-gi")
    yield start
    for server in servers:
        server.kill()


class Live:
    """A running co2net-infer --live; its stderr is collected line by line."""

    def __init__(self, *arguments):
        program = "from co2net_runtime.cli.infer import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said, self.events = [], []
        self.threads = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self.process.stderr, self.said), (self.process.stdout, self.events))
        ]
        for thread in self.threads:
            thread.start()

    def _collect(self, stream, lines):
        for line in stream:
            lines.append(line)

    def wait(self, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "".join(self.said)
            assert self.process.poll() is None, "".join(self.said)
            time.sleep(0.05)

    def hears(self, text):
        self.wait(lambda: any(text in line for line in self.said))

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        for thread in self.threads:
            thread.join(PATIENCE_S)
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.mark.timeout(300)
def test_a_camera_that_is_killed_and_restarted(tiny_path, rgb_path, flow_path, rtsp):
    port = free_port()
    server = rtsp(port)
    live = Live(
        tiny_path, "--live", f"door=rtsp://127.0.0.1:{port}/door", "--rgb", rgb_path,
        "--flow", flow_path, "--provisional", "0.7",
    )  # fmt: skip
    try:
        live.wait(lambda: live.events)
        server.kill()
        live.hears("reopening it until it answers")
        before = len(live.events)
        rtsp(port)
        live.hears("the pictures are back")
        live.wait(lambda: len(live.events) > before + 3)
    finally:
        code = live.stop()
    assert code == 130
    events = [json.loads(line) for line in live.events]
    assert {event["stream"] for event in events} == {"door"}
    spans = [(e["start_s"], e["end_s"]) for e in events if e["kind"] == "segment"]
    (back,) = [line for line in live.said if "the pictures are back" in line]
    lost = int(back.split("; ")[1].split()[0])
    assert lost >= 1
    # time goes on by the clock, and no segment spans the gap
    assert max(end for _, end in spans) >= lost * 0.64
    assert all(end - start <= 60 for start, end in spans)


def test_several_sources_in_one_process(tiny_path, rgb_path, flow_path, render):
    paths = [render("door.mp4", 80), render("yard.mp4", 60)]
    result = CliRunner().invoke(
        main,
        [
            str(tiny_path), "--live", *(f"play:{path}" for path in paths),
            "--rgb", str(rgb_path), "--flow", str(flow_path), "--threads", "1",
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert {event["stream"] for event in events} == {"door", "yard"}
    assert max(e["end_s"] for e in events if e["stream"] == "door") <= 5 * 0.64 + 1


@pytest.mark.parametrize("source", ["rtsp://me:secret@door/1", "play:clip.mp4", "/dev/video0"])
def test_video_without_backbones_is_refused_with_what_to_give(tiny_path, source):
    result = CliRunner().invoke(main, [str(tiny_path), "--live", source])
    assert result.exit_code == 2
    assert "--rgb RGB.onnx" in result.stderr
    assert "secret" not in result.stderr


def test_other_features_than_the_models_are_refused(tiny_path, make_backbone, render):
    wide = make_backbone("rgb", 8)
    arguments = [str(tiny_path), "--live", f"play:{render()}", "--rgb", str(wide)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "takes features of width 16, the backbones give 8" in result.stderr


@pytest.mark.parametrize("rgb", [True, False])
def test_a_url_without_live_says_so(tiny_path, rgb_path, rgb):
    options = ["--rgb", str(rgb_path)] if rgb else []
    result = CliRunner().invoke(main, [str(tiny_path), "rtsp://door/1", *options])
    assert result.exit_code == 2
    assert "--live" in result.stderr
    assert "--rgb" in result.stderr


@pytest.mark.parametrize("name", ["clip.mp4", "videos/clip.mkv"])
def test_a_video_without_backbones_says_what_to_give(tiny_path, name):
    result = CliRunner().invoke(main, [str(tiny_path), name])
    assert result.exit_code == 2
    assert "--rgb RGB.onnx" in result.stderr
