"""A real Triton server on a repository of co2net-triton: what it answers, what it survives."""

import json
import os
import signal
import statistics
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

from co2net_runtime import BackendError, InputError, TritonLocalizer
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.triton_probe import main as probe_command
from co2net_runtime.localizer import Localizer
from co2net_runtime.serving.answers import from_tensors
from co2net_runtime.serving.connection import Connection
from tests.runtime.serving.planted import write_planted

pytestmark = pytest.mark.timeout(280)

# in the server's environment: tritonclient, and what co2net-infer --threads 1 says there
CLIENT_PROGRAM = """
import json, sys
import numpy as np
import tritonclient.http
from co2net_runtime import EngineOptions, Localizer
from co2net_runtime.serving.answers import OUTPUTS, from_tensors

address, model, archive = sys.argv[1:]
client = tritonclient.http.InferenceServerClient(address)
options = EngineOptions(backend="onnxruntime", device="cpu", threads=1)
localizer = Localizer.load(model, options)
equal = []
for features in np.load(archive).values():
    tensor = tritonclient.http.InferInput("features", [1, *features.shape], "FP32")
    tensor.set_data_from_numpy(features[None])
    reply = client.infer("co2net", [tensor])
    tensors = {name: reply.as_numpy(name) for name in OUTPUTS}
    (found,) = from_tensors(tensors, localizer.contract.classes)
    equal.append(found.to_records() == localizer(features).to_records())
print(json.dumps(equal))
"""


@pytest.fixture
def ragged(videos):
    return videos(*(7 + 13 * (index % 29) for index in range(60)))


@pytest.fixture
def expected(localizer):
    """What the Localizer says of features; another numpy may differ in the last bits of scores."""

    def check(found, features, within=1e-12):
        wanted = localizer(features)
        assert found.classes == wanted.classes
        assert found.segments.tolist() == wanted.segments.tolist()
        assert found.labels.tolist() == wanted.labels.tolist()
        np.testing.assert_allclose(found.scores, wanted.scores, rtol=within, atol=within)

    return check


@pytest.fixture
def ask(server):
    """Localize videos by clients in several threads; return detections or errors, in order."""

    def run(videos, threads=16, model="co2net", **options):
        found = [None] * len(videos)

        def work(first):
            with TritonLocalizer.connect(server.address, model, **options) as localizer:
                for index in range(first, len(videos), threads):
                    try:
                        found[index] = localizer(videos[index])
                    except (InputError, BackendError) as error:
                        found[index] = error

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        return found

    return run


@pytest.fixture
def raw(server):
    """Send a request as it is."""
    with Connection(server.address, timeout_s=100, patience_s=0) as connection:
        yield lambda features: connection.infer("co2net", {"features": features})


def probe(server, *options):
    return CliRunner().invoke(probe_command, [server.address, *options])


def test_ragged_requests_are_batched_and_answered_as_by_the_localizer(
    server, ask, expected, ragged
):
    before = server.counts()
    requests = ragged * 9
    found = ask(requests)
    for one, features in zip(found[: len(ragged)], ragged, strict=True):
        expected(one, features)
    for index, one in enumerate(found):
        assert one.to_records() == found[index % len(ragged)].to_records()
    after = server.counts()
    answered, run = (
        after[f"nv_inference_{name}"] - before.get(f"nv_inference_{name}", 0)
        for name in ("count", "exec_count")
    )
    assert (
        answered
        == len(requests)
        == after["nv_inference_request_success"] - before.get("nv_inference_request_success", 0)
    )
    assert answered / run > 2, "requests are not run together"


def test_tritonclient_gets_what_infer_writes_bit_for_bit(
    server, triton_home, tiny_path, ragged, tmp_path
):
    np.savez(tmp_path / "videos.npz", *ragged)
    arguments = (server.address, tiny_path, tmp_path / "videos.npz")
    assert json.loads(triton_home.run(CLIENT_PROGRAM, *arguments)) == [True] * len(ragged)


def test_several_videos_in_one_request_each_get_their_own(raw, expected, videos):
    rows = np.stack(videos(40, 40, 40))
    found = from_tensors(raw(rows), ("Run", "Jump", "Throw"))
    for one, features in zip(found, rows, strict=True):
        expected(one, features)
    assert len({len(one) for one in found}) > 1, "padding is not tested"


def test_a_bad_request_fails_alone_and_says_why(server, ask, raw, expected, videos):
    (good,) = videos(40)
    bad = good.copy()
    bad[3, 5] = np.nan
    begin = threading.Barrier(2)

    def good_ones(_):
        begin.wait(60)
        return ask([good] * 40, threads=8)

    def bad_ones(_):
        begin.wait(60)
        errors = []
        for _ in range(40):
            with pytest.raises(InputError, match="1 value is NaN") as caught:
                raw(bad[None])
            errors.append(str(caught.value))
        return errors

    before = server.counts()
    with ThreadPoolExecutor(2) as pool:
        fine = pool.submit(good_ones, None)
        refused = pool.submit(bad_ones, None)
    for one in fine.result():
        expected(one, good)
    assert all("snippet 3, channel 5" in text for text in refused.result())
    after = server.counts()
    for result in ("done", "failed"):
        name = ("co2net_videos", result)
        assert after[name] - before[name] == 40
    with pytest.raises(InputError, match="no snippets"):
        raw(np.zeros((1, 0, 16), np.float32))
    with pytest.raises(InputError, match="unexpected shape"):
        raw(np.zeros((1, 4, 15), np.float32))


def test_the_client_refuses_what_cannot_fit_and_names_what_is_wrong(server, videos):
    with TritonLocalizer.connect(f"http://{server.address}/") as client:
        assert client.contract.classes == ("Run", "Jump", "Throw")
        with pytest.raises(InputError, match="expected 16 channels"):
            client(np.zeros((4, 15), np.float32))
        assert len(client(videos(1)[0].astype(np.float64))) == 0
    with pytest.raises(InputError, match="'nobody' is not found"):
        TritonLocalizer.connect(server.address, "nobody")
    with pytest.raises(BackendError, match=r"no answer within 0.2 s: .*refused"):
        TritonLocalizer.connect("127.0.0.1:1", patience_s=0.2)
    with pytest.raises(InputError, match="expected HOST:PORT"):
        TritonLocalizer.connect("localhost")


def test_large_requests(server, repository, write, ask, tmp_path):
    """2 MB each, 8 at once; then 33 MB each."""
    model = write_planted(tmp_path / "planted.onnx", width=2048)
    write(model, "--name", "wide", "--instances", "1")
    server.load("wide")
    rng = np.random.default_rng(0)
    small = rng.random((250, 2048), np.float32)
    large = rng.random((4000, 2048), np.float32)
    options = EngineOptions(backend="onnxruntime", device="cpu", threads=1)
    with Localizer.load(model, options) as localizer:
        for videos, threads in (([small] * 96, 8), ([large] * 3, 3)):
            wanted = localizer(videos[0])
            for found in ask(videos, threads, "wide"):
                np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6)


def test_a_full_queue_refuses_at_once(server, write, ask, videos, tiny_path):
    write(tiny_path, "--name", "narrow", "--instances", "1", "--max-batch", "1",
          "--max-queue", "16")  # fmt: skip
    server.load("narrow")
    found = ask(videos(1000) * 200, 200, "narrow", patience_s=0)
    refused = [str(one) for one in found if isinstance(one, BackendError)]
    assert 100 < len(refused) < 200
    assert all("maximum queue size" in text for text in refused), set(refused)
    found = ask(videos(20) * 80, 40, "narrow")  # who tries again gets through
    assert [one for one in found if isinstance(one, BackendError)] == []


def test_a_network_without_python_is_decoded_by_the_client(
    server, write, ask, expected, ragged, tiny_path
):
    """Triton's own ONNX Runtime is not in the wheel: a stand-in has its inputs and outputs."""
    folder = write(tiny_path, "--name", "network", "--network-only", "--instances", "1")
    with pytest.raises(urllib.error.HTTPError):
        server.load("network")  # the configuration is read, then there is no such backend
    config = (folder / "config.pbtxt").read_text()
    assert "unable to find backend library for backend 'onnxruntime'" in server.log()
    config = config.replace('platform: "onnxruntime_onnx"', 'backend: "python"')
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(STAND_IN)
    server.load("network")
    for one, features in zip(ask(ragged, 4, "network"), ragged, strict=True):
        expected(one, features, within=1e-5)  # padded


STAND_IN = """
import numpy as np, onnxruntime
import triton_python_backend_utils as utils

class TritonPythonModel:
    def initialize(self, args):
        self.session = onnxruntime.InferenceSession(__file__.replace("model.py", "model.onnx"))

    def execute(self, requests):
        replies = []
        for request in requests:
            features, lengths = (
                utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in ("features", "lengths")
            )
            assert features.shape[1] % 64 == 0, features.shape
            found = self.session.run(None, {"features": features, "lengths": lengths.reshape(-1)})
            tensors = [utils.Tensor(*each) for each in zip(("cas", "attention"), found)]
            replies.append(utils.InferenceResponse(tensors))
        return replies
"""


def test_throughput_holds_against_a_loop_of_one_thread(server, ask, localizer, videos):
    requests = videos(*[1000] * 48)
    ask(requests[:8])
    ratios = []
    for _ in range(3):
        begun = time.perf_counter()
        for features in requests:
            localizer(features)
        between = time.perf_counter()
        ask(requests, 8)
        ratios.append((between - begun) / (time.perf_counter() - between))
    assert max(ratios) >= 0.3, statistics.median(ratios)


def test_a_dead_instance_fails_the_probe_and_a_reload_is_the_cure(server, ask, expected, videos):
    assert probe(server).exit_code == 0
    dead, _ = server.stubs()
    os.kill(dead, signal.SIGKILL)
    done = probe(server)
    assert done.exit_code == 1
    assert "is not healthy" in done.stderr
    assert server.is_ready(), "Triton has learned to see dead stubs: the probe may be simpler"
    # clients that try again get to the other instance
    for one in ask(videos(30) * 20, 4):
        expected(one, videos(30)[0])
    assert probe(server, "--reload").exit_code == 0
    assert probe(server).exit_code == 0
    assert server.counts()["nv_inference_request_failure", "BACKEND"] > 0
    nobody = probe(server, "--name", "nobody")
    assert nobody.exit_code == 1
    assert "'nobody' is not found" in nobody.stderr


def test_clients_outlast_a_killed_server(server, ask, expected, ragged):
    requests = ragged * 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, requests, 8, patience_s=200)
        while server.counts().get("nv_inference_request_success", 0) < 50:
            time.sleep(0.01)
        server.kill()
        server.start()
        found = waiting.result()
    for one, features in zip(found, requests, strict=True):
        expected(one, features)


def test_sigterm_lets_requests_finish(server, ask, expected, videos):
    requests = videos(*[1500] * 16)
    before = server.counts().get("nv_inference_request_success", 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, requests, len(requests), patience_s=0)
        while server.counts().get("nv_inference_request_success", 0) == before:
            time.sleep(0.005)
        assert server.terminate() == 0
        found = waiting.result()
    for one, features in zip(found, requests, strict=True):
        expected(one, features)
