import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError, ContractError, InputError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import FeatureFile
from co2net_runtime.localizer import Localizer
from co2net_runtime.network import pipeline
from co2net_runtime.network.batching import group_by_length, pad


def test_activations_are_those_of_pytorch(localizer, tiny_arrays, tiny_videos):
    for video, features in tiny_videos.items():
        found = localizer.network.run([features])[0]
        np.testing.assert_allclose(found.cas, tiny_arrays[f"tiny_{video}_cas"], atol=1e-5)
        attention = tiny_arrays[f"tiny_{video}_attention"][:, 0]
        np.testing.assert_allclose(found.attention, attention, atol=1e-6)


def test_segments_are_seconds_by_the_contract(localizer, videos):
    (features,) = videos(40)
    found = localizer(features)
    assert len(found) > 3
    assert found.classes == ("Run", "Jump", "Throw")
    snippets = found.segments / 0.64
    np.testing.assert_allclose(snippets, np.round(snippets), atol=1e-9)
    assert found.segments.max() <= 40 * 0.64


def equal(one, other):
    np.testing.assert_array_equal(one.segments, other.segments)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_batch_gives_what_each_video_gives_alone(localizer, videos, size):
    ragged = videos(40, 3, 17, 38, 1, 40, 33)
    for together, features in zip(localizer.batch(ragged, size=size), ragged, strict=True):
        equal(together, localizer(features))


def test_batch_of_none(localizer):
    assert localizer.batch([]) == []


def test_batch_says_which_video_is_wrong(localizer, videos):
    with pytest.raises(InputError, match=r"video 1: expected 16 channels"):
        localizer.batch([videos(3)[0], np.ones((3, 9), np.float32)])


@settings(max_examples=200)
@given(
    st.lists(st.integers(1, 500), max_size=30),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_groups_hold_each_video_once_within_all_limits(lengths, size, limit):
    groups = group_by_length(lengths, size, lambda _: limit)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert 1 <= len(group) <= min(size, limit or size)
        own = [lengths[index] for index in group]
        assert own == sorted(own, reverse=True)
        assert own[0] * len(own) <= 1.25 * sum(own)


def test_groups_use_the_room_there_is():
    assert group_by_length([10, 9, 10, 8, 100], 4, lambda _: None) == [[4], [0, 2, 1, 3]]


def test_pad_puts_zeros_behind_each_video(videos):
    short, long = videos(2, 5)
    feeds = pad([short, long])
    assert feeds["lengths"].tolist() == [2, 5]
    np.testing.assert_array_equal(feeds["features"][0, :2], short)
    assert not feeds["features"][0, 2:].any()
    np.testing.assert_array_equal(feeds["features"][1], long)


def test_threads_share_one_localizer(localizer, videos):
    ragged = videos(*range(1, 41))
    expected = [localizer(features) for features in ragged]
    start = threading.Barrier(4)

    def work(offset):
        start.wait()
        order = np.roll(np.arange(len(ragged)), offset * 10)
        return {int(index): localizer(ragged[index]) for index in order}

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(4)):
            for index, found in results.items():
                equal(found, expected[index])


def test_closing_while_others_run_is_an_error_not_a_crash(tiny_path, videos):
    localizer = Localizer.load(tiny_path, EngineOptions(threads=1))
    (features,) = videos(40)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            try:
                localizer(features)
            except BackendError as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(work) for _ in range(2)]
        localizer.close()
        assert [one.result() for one in running] == ["the model is closed"] * 2
        stop.set()


def test_a_pickled_copy_opens_the_model_again(localizer, videos):
    (features,) = videos(20)
    with pickle.loads(pickle.dumps(localizer)) as copy:
        equal(copy(features), localizer(features))


def test_stream_files_keeps_the_order_and_reports_bad_files(localizer, feature_folder):
    folder = feature_folder(5, 30, 2, 17)
    np.save(folder / "video_001.npy", np.ones((3, 4), np.float32))
    (folder / "video_003.npy").write_bytes(b"")
    bad = []
    found = dict(localizer.stream_files([folder], on_error=lambda _, e: bad.append(str(e))))
    assert list(found) == ["video_000", "video_002"]
    assert ["video_001" in bad[0], "video_003" in bad[1]] == [True, True]
    with pytest.raises(InputError, match=r"video_001.npy: expected 16 channels"):
        list(localizer.stream_files([folder]))


@pytest.mark.parametrize("size", [1, 3])
def test_stream_files_equals_one_by_one(localizer, feature_folder, size):
    folder = feature_folder(*range(1, 30))
    for video, found in localizer.stream_files([folder], size=size):
        equal(found, localizer(np.load(folder / f"{video}.npy")))


class CountingFile(FeatureFile):
    """Counts how many of its feature arrays are alive."""

    alive = 0
    most = 0

    def read(self, feature_dim=None):
        features = np.array(super().read(feature_dim))
        cls = CountingFile
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        weakref.finalize(features, self._gone)
        return features

    @staticmethod
    def _gone():
        CountingFile.alive -= 1


def test_stream_holds_few_videos_at_a_time(localizer, feature_folder):
    CountingFile.alive = CountingFile.most = 0
    files = [
        CountingFile(file.video, file.path)
        for file in find_feature_files([feature_folder(*[3] * 60)])
    ]
    count = sum(1 for _ in pipeline.run_files(localizer.network, files))
    gc.collect()
    assert count == 60
    assert 1 <= CountingFile.most <= 3
    assert CountingFile.alive == 0


def test_reading_goes_on_while_the_network_runs(localizer, feature_folder):
    """The second file is read before the consumer asks for its result."""
    second_read = threading.Event()

    class Watched(FeatureFile):
        def read(self, feature_dim=None):
            features = super().read(feature_dim)
            if self.video == "video_001":
                second_read.set()
            return features

    files = [Watched(f.video, f.path) for f in find_feature_files([feature_folder(5, 5, 5)])]
    outcomes = pipeline.run_files(localizer.network, files)
    next(outcomes)
    second_read.wait()
    outcomes.close()


def test_a_failing_batch_is_tried_video_by_video(localizer, feature_folder, monkeypatch, caplog):
    run = localizer.network.run

    def only_singles(videos, *, size=None):
        if len(videos) > 1 or len(videos[0]) == 7:
            raise BackendError("out of memory")
        return run(videos, size=size)

    monkeypatch.setattr(localizer.network, "run", only_singles)
    files = find_feature_files([feature_folder(5, 7, 6)])
    outcomes = list(pipeline.run_files(localizer.network, files, size=2))
    assert [one.error is None for one in outcomes] == [True, False, True]
    assert str(outcomes[1].error).endswith("video_001.npy: out of memory")
    assert "one video after another" in caplog.text


@pytest.mark.parametrize("size", [1, 3])
def test_outputs_that_are_not_finite_are_an_error_of_that_video(
    localizer, feature_folder, videos, size
):
    """Features near the largest float32 are finite, their convolution is not."""
    folder = feature_folder(5, 7, 6)
    np.save(folder / "video_001.npy", np.full((7, 16), 3e38, np.float32))
    bad = []
    found = dict(
        localizer.stream_files([folder], size=size, on_error=lambda _, error: bad.append(error))
    )
    assert list(found) == ["video_000", "video_002"]
    assert isinstance(bad[0], BackendError)
    assert "video_001.npy: " in str(bad[0])
    assert "is not finite in a video of 7 snippets" in str(bad[0])
    with pytest.raises(BackendError, match="not finite"):
        localizer(np.full((7, 16), 3e38, np.float32))


def test_refuses_what_is_no_model(tmp_path, tiny_path):
    whole = tiny_path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("this is no model at all")
    (tmp_path / "other.onnx").write_bytes(whole.replace(b"co2net\x12", b"xo2net\x12"))
    for name, text, kind in [
        ("cut.onnx", "damaged or truncated", InputError),
        ("empty.onnx", "the file is empty", InputError),
        ("text.onnx", "damaged or truncated", InputError),
        ("missing.onnx", "no such file", InputError),
        ("other.onnx", "without a co2net contract", ContractError),
    ]:
        with pytest.raises(kind, match=f"{name}: .*{text}"):
            Localizer.load(tmp_path / name)


def test_refuses_the_chunk_graph(tiny_path):
    with pytest.raises(InputError, match="the graph for chunks of a video"):
        Localizer.load(tiny_path.with_name("tiny.chunk.onnx"))


def test_refuses_unknown_names(tiny_path):
    for options, text in [
        ({"backend": "onnx"}, "backend 'onnx': expected one of auto, onnxruntime"),
        ({"device": "gpu0"}, "device 'gpu0': expected auto, cpu, cuda"),
        ({"device": "cpu:1"}, "device 'cpu:1'"),
        (
            {"backend": "onnxruntime", "device": "npu"},
            "npu': expected auto, cpu, cuda, cuda:N or gpu",
        ),
        ({"backend": "tensorrt", "device": "cpu"}, "runs on cuda, not on cpu"),
    ]:
        with pytest.raises(InputError, match=text):
            Localizer.load(tiny_path, EngineOptions(**options))
