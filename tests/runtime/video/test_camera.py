"""Cameras: what plays comes as rows; what does not keep up, or breaks, comes as gaps."""

import socket
import threading
from concurrent.futures import Future
from itertools import count

import numpy as np
import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.live import camera as camera_module
from co2net_runtime.live.arrivals import NOTHING
from co2net_runtime.live.camera import Camera, is_video
from co2net_runtime.live.camera_network import CameraNetwork
from co2net_runtime.video.extract import Extractor

ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)
SNIPPET_S = 0.64


class Clock:
    """Time that passes only where somebody waits for it."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Stop(threading.Event):
    """Waiting for it passes the clock's time; `meanwhile` happens then."""

    def __init__(self, clock, meanwhile=lambda: None):
        super().__init__()
        self.clock, self.meanwhile = clock, meanwhile

    def wait(self, timeout=None):
        self.clock.now += timeout
        self.meanwhile()
        return self.is_set()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(camera_module, "time", clock)
    return clock


@pytest.fixture
def network(make_backbone):
    backbones = make_backbone("rgb", 6), make_backbone("flow", 10)
    with CameraNetwork(Extractor.open(*backbones, ENGINE)) as network:
        yield network


class ByHand:
    """A network whose rows come when the test says so."""

    def __init__(self, network):
        self.recipe, self.builder = network.recipe, network.builder
        self.rows = []

    def submit(self, _clip):
        self.rows.append(Future())
        return self.rows[-1]


def told(arrivals):
    return [each for each in arrivals if each is not NOTHING]


def rows_of(arrivals):
    return np.concatenate([each.rows for each in arrivals if each.rows is not None])


@pytest.mark.parametrize("frames", [40, 48, 49])
def test_a_played_file_gives_the_rows_of_its_features_at_its_pace(
    network, make_backbone, render, clock, monkeypatch, frames
):
    path = render(frames=frames)
    with Extractor.open(make_backbone("rgb", 6), make_backbone("flow", 10), ENGINE) as extractor:
        expected = extractor(path)
    monkeypatch.setattr(camera_module, "MOST_WAITING", 1000)
    found = told(Camera(f"play:{path}", network).arrivals(Stop(clock), 0))
    np.testing.assert_allclose(rows_of(found), expected, atol=1e-5)
    assert not any(each.trouble or each.gap for each in found)
    assert clock.now >= (frames - 1) / 25


def test_what_does_not_keep_up_loses_whole_snippets_and_later_times_are_right(
    network, render, clock
):
    slow = ByHand(network)

    def run_from_4_s_on():
        for number, row in enumerate(slow.rows):
            if clock.now > 4 and not row.done():
                row.set_result(np.full((1, 16), number, np.float32))

    camera = Camera(f"play:{render(frames=16 * 8)}", slow)
    found = told(camera.arrivals(Stop(clock, run_from_4_s_on), 0))
    # three wait, the fourth is being filled; what begins at 2.56, 3.2 and 3.84 s is dropped
    timeline = [each.lost if each.rows is None else "row" for each in found if not each.trouble]
    assert timeline == ["row", "row", "row", "row", 1, 1, 1, "row"]
    assert rows_of(found)[:, 0].tolist() == [0, 1, 2, 3, 4]
    texts = [each.trouble for each in found if each.trouble]
    assert texts == [f"{n} dropped: this machine is too slow" for n in ("1 snippet", "2 snippets")]


def test_a_missing_file_is_refused(network):
    with pytest.raises(InputError, match=r"play:gone\.mp4: no such file"):
        Camera("play:gone.mp4", network)


def test_an_engine_that_fails_ends_the_stream(network, render, clock):
    broken = ByHand(network)

    def submit(clip):
        row = Future()
        row.set_exception(BackendError("out of memory"))
        return row

    broken.submit = submit
    found = told(Camera(f"play:{render(frames=33)}", broken).arrivals(Stop(clock), 0))
    assert [(each.trouble, each.failed) for each in found] == [("out of memory", True)]


@pytest.mark.parametrize(
    ("source", "video"),
    [
        ("rtsp://host/door", True), ("/dev/video0", True), ("play:a.mp4", True),
        ("tcp://127.0.0.1:1", True), ("tcp:127.0.0.1:1", False), ("unix:a", False),
        ("a.npy", False), ("-", False),
    ],
)  # fmt: skip
def test_video_is_told_from_features(source, video):
    assert is_video(source) == video


class TransportServer:
    """Sends a file to whom connects over TCP, then breaks off; once for each connection."""

    def __init__(self, data):
        self._data = data
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.served = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        for self.served in count(1):
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self._data)

    def close(self):
        self._socket.close()


def test_a_break_is_a_gap_of_known_length_and_no_flow_crosses_it(
    network, make_backbone, render, clock, monkeypatch
):
    path = render("clip.ts", frames=40)
    with Extractor.open(make_backbone("rgb", 6), make_backbone("flow", 10), ENGINE) as extractor:
        expected = extractor(path)  # of 2 snippets
    monkeypatch.setattr(camera_module, "MOST_WAITING", 1000)
    monkeypatch.setattr(camera_module, "FIRST_WAIT_S", 6.4)
    server = TransportServer(path.read_bytes())
    stop = Stop(clock)
    found = []
    for each in Camera(f"tcp://user:secret@127.0.0.1:{server.port}", network).arrivals(stop, 0):
        found.append(each)
        if sum(each.rows is not None for each in found) == 4:
            stop.set()
    server.close()
    assert server.served >= 2
    found = told(found)
    np.testing.assert_allclose(rows_of(found), np.concatenate([expected] * 2), atol=1e-5)
    (gap,) = [each for each in found if each.gap]
    # 10 snippets passed between the two beginnings, the first two of which came
    assert gap.lost == 8
    texts = " ".join(each.trouble for each in found)
    assert "the pictures ended; reopening it" in texts
    assert "secret" not in texts


def test_a_camera_that_does_not_answer_is_reported_once_and_waited_for(network, clock):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    stop, found = Stop(clock), []
    for each in Camera(f"tcp://127.0.0.1:{port}", network).arrivals(stop, 0):
        found.append(each)
        if clock.now > 100:
            stop.set()
    (trouble,) = [each.trouble for each in found if each.trouble]
    assert f"tcp://127.0.0.1:{port}: no answer: Connection refused" in trouble


def test_what_an_earlier_run_saw_lies_before_a_gap(network, render, clock):
    camera = Camera(f"play:{render(frames=16)}", network)
    assert next(camera.arrivals(Stop(clock), 7)).gap
