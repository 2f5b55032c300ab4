"""On a GPU, the next window is computed while the caller works on the last one."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile
from co2net_runtime.network.pipeline import run_files

LIMIT = 120  # seconds: only where it deadlocks


class Network:
    """Single videos; the second is not computed before somebody has seen the first outcome."""

    contract = SimpleNamespace(feature_dim=4)
    is_packing = False
    longest_whole = 4096

    def __init__(self, *, on_gpu, batch=1):
        self.batch = batch
        self.engine = SimpleNamespace(on_gpu=on_gpu)
        self.computed = []
        self.entered, self.seen = threading.Event(), threading.Event()
        self.threads = set()

    def batch_size(self, _=None):
        return self.batch

    def run(self, videos, **_):
        if len(videos) > 1:
            return [len(video) for video in videos]
        (video,) = videos
        self.threads.add(threading.current_thread().name)
        if len(video) == 13:
            raise InputError("unlucky")
        if len(self.computed) == 1 and self.engine.on_gpu:
            self.entered.set()
            assert self.seen.wait(LIMIT)
        self.computed.append(len(video))
        return [len(video)]


@pytest.fixture
def files(tmp_path):
    for length in range(10, 16):
        np.save(tmp_path / f"{length}.npy", np.ones((length, 4), np.float32))
    return [FeatureFile(path.stem, path) for path in sorted(tmp_path.glob("*.npy"))]


def test_the_network_and_the_caller_work_at_once(files):
    network = Network(on_gpu=True)
    outcomes = run_files(network, files)
    first = next(outcomes)
    assert network.entered.wait(LIMIT)
    # the second video is in the network now, and stays there until we go on
    assert (first.activations, network.computed) == (10, [10])
    network.seen.set()
    found = [first, *outcomes]
    assert [one.activations for one in found] == [10, 11, 12, None, 14, 15]
    assert "unlucky" in str(found[3].error)
    assert {name.rpartition("_")[0] for name in network.threads} == {"co2net-network"}


def test_the_last_window_is_still_read_when_there_are_no_more_files(files):
    """Nothing is left to take then, and its videos wait for the reader all the same."""

    class Slow(FeatureFile):
        def read(self, feature_dim=None):
            assert no_more.wait(LIMIT)
            return super().read(feature_dim)

    def every():
        yield from (Slow(one.video, one.path) for one in files[:3])
        threading.Timer(0.2, no_more.set).start()

    no_more = threading.Event()
    network = Network(on_gpu=True, batch=2)
    assert [one.activations for one in run_files(network, every())] == [10, 11, 12]


def test_a_caller_who_leaves_ends_the_thread(files):
    network = Network(on_gpu=True)
    network.seen.set()
    outcomes = run_files(network, files)
    next(outcomes)
    outcomes.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("co2net-")]
    assert len(network.computed) < len(files)


def test_a_cpu_computes_when_asked(files):
    """There the decoder would take the network's cores."""
    network = Network(on_gpu=False)
    outcomes = run_files(network, files)
    for count, outcome in enumerate(outcomes, 1):
        assert len(network.computed) + (count > 3) == count
        assert (outcome.error is None) == (count != 4)
    assert network.threads == {threading.current_thread().name}
