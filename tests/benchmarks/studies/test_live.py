"""The live benchmarks on the tiny model and planted streams."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net.data.dataset import DatasetOptions, open_dataset
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.live.pool import Event, LiveOptions, LivePool
from co2net_runtime.localizer import Localizer
from studies import live_accuracy, live_cost

DATA = Path(__file__).parents[2] / "runtime" / "data"
ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("make_tiny", DATA / "make_tiny.py")
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    folder = tmp_path_factory.mktemp("live") / "data"
    tiny.write_dataset(folder)
    return folder


def test_live_accuracy_compares_all_strategies(data, tmp_path):
    out, plot = tmp_path / "live.md", tmp_path / "live.png"
    done = CliRunner().invoke(
        live_accuracy.main,
        [str(DATA / "tiny.onnx"), str(data), "--out", str(out), "--plot", str(plot)],
    )
    assert done.exit_code == 0, done.stderr
    for name in ("offline", *live_accuracy.strategies(prior=False)):
        assert name in done.stdout
    assert out.read_text().strip() == done.stdout.strip()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_every_video_is_fed_whole(data):
    dataset = open_dataset(data, DatasetOptions())
    videos = dataset.videos(dataset.test_subset)
    pool = LivePool.load(DATA / "tiny.onnx", LiveOptions(longest_s=None), engine=ENGINE)
    together = live_accuracy.run_live({"x": pool}, dataset, videos)["x"]
    for video in videos:
        alone = pool.push({video.name: dataset.load_features(video.name)}) + pool.flush(video.name)
        own = [(e.label, e.start_s, e.end_s) for e in together if e.stream == video.name]
        assert own == [(e.label, e.start_s, e.end_s) for e in alone]
    pool.close()


def test_pools_in_step_ask_the_network_once(data):
    dataset = open_dataset(data, DatasetOptions())
    videos = dataset.videos(dataset.test_subset)[:3]
    strategies = live_accuracy.strategies(prior=False)
    group = live_accuracy.by_context(strategies)[0]
    assert {"never cut", "classes of 60 s"} < group.keys()
    assert sum(map(len, live_accuracy.by_context(strategies))) == len(strategies)
    asked = []

    class Counting:
        def __init__(self, backend):
            self.contract, self._backend = backend.contract, backend

        def infer(self, feeds):
            asked.append(feeds["position"])
            return self._backend.infer(feeds)

    with open_backend(DATA / "tiny.live.onnx", EngineOptions(threads=1)) as backend:
        shared = live_accuracy.LastAnswer(Counting(backend))
        pools = {name: LivePool(shared, own, None, None) for name, own in group.items()}
        together = live_accuracy.run_live(pools, dataset, videos)
        lengths = [dataset.length(video.name) for video in videos]
        assert len(asked) == max(lengths) + len(lengths)
        for name, own in group.items():
            pool = LivePool(backend, own, None, None)
            assert together[name] == live_accuracy.run_live({name: pool}, dataset, videos)[name]


def test_delay_is_that_of_the_first_right_segment(data):
    dataset = open_dataset(data, DatasetOptions())
    video = next(v for v in dataset.videos(dataset.test_subset) if len(v.segments))
    events = []
    for (start, end), label in zip(video.segments, video.segment_labels, strict=True):
        name = dataset.classes[label]
        for at in (7.0, 3.0):
            events.append(
                Event("segment", video.name, name, float(start), float(end), 1.0, 0, end + at)
            )
        events.append(Event("segment", video.name, name, 1e4, 2e4, 1.0, 0, 0.0))
    found = live_accuracy.judge("x", events, dataset, [video])
    assert found.found == 1
    assert found.mean_s <= 3.0 + 1e-6
    nothing = live_accuracy.judge("x", [], dataset, [video])
    assert nothing.found == 0
    assert np.isnan(nothing.mean_s)


def test_offline_is_the_localizer(data):
    dataset = open_dataset(data, DatasetOptions())
    videos = dataset.videos(dataset.test_subset)
    with Localizer.load(DATA / "tiny.onnx", EngineOptions(device="cpu", threads=1)) as localizer:
        found = live_accuracy.judge_offline(localizer, dataset, videos)
    assert 0 <= found.map["0.1:0.7"] <= 1
    assert np.isnan(found.mean_s)


def test_live_cost_is_flat(tmp_path):
    """State and memory do not grow; time is left to the machine that is measured."""
    out = tmp_path / "cost.md"
    done = CliRunner().invoke(
        live_cost.main,
        [
            str(DATA / "tiny.onnx"), "--snippets", "2000", "--streams", "4", "--threads", "1",
            "--out", str(out),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "| 4 | 500 |" in out.read_text()
    pool = LivePool.load(DATA / "tiny.onnx", LiveOptions(class_window_s=60), engine=ENGINE)
    cost = live_cost.measure(pool, 1, 800, quiet=True)
    pool.close()
    assert cost.state_bytes[1] <= 1.5 * cost.state_bytes[0]
    assert cost.ticks == 800
    assert cost.p50_s <= cost.p99_s
