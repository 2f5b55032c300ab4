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

    def __init__(self, *, on_gpu):
        self.engine = SimpleNamespace(on_gpu=on_gpu)
        self.computed = []
        self.seen = threading.Event()
        self.threads = set()

    def batch_size(self, _=None):
        return 1

    def run(self, videos, **_):
        (video,) = videos
        self.threads.add(threading.current_thread().name)
        if len(video) == 13:
            raise InputError("unlucky")
        if len(self.computed) == 1 and self.engine.on_gpu:
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
    # the second video is in the network now, and stays there until we go on
    assert (first.activations, network.computed) == (10, [10])
    network.seen.set()
    found = [first, *outcomes]
    assert [one.activations for one in found] == [10, 11, 12, None, 14, 15]
    assert "unlucky" in str(found[3].error)
    assert {name.rpartition("_")[0] for name in network.threads} == {"co2net-network"}


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
