import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.buckets import bucket, pad_time
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.ort import providers
from co2net_runtime.backends.ort.backend import OnnxRuntimeBackend
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.batching import group_by_length, pad


@given(st.integers(1, 20_000))
def test_a_bucket_holds_the_video_and_little_more(length):
    padded = bucket(length)
    assert padded % (64 if length <= 512 else 256) == 0
    assert 0 <= padded - length < (64 if length <= 512 else 256)


def test_few_lengths():
    assert len({bucket(length) for length in range(1, 4097)}) == 8 + 14


@pytest.mark.parametrize("name", ["tiny", "tiny_pool"])
def test_padding_changes_no_result(tiny_path, videos, name):
    """The way of CUDA, on the CPU: the engine sees buckets, the caller its own length."""
    path = tiny_path.with_name(f"{name}.onnx")
    cpu = providers.Provider(
        providers.CPU, Device("cpu"), ((providers.CPU, {}),), bind=True, buckets=True
    )
    with (
        OnnxRuntimeBackend(path, read_contract(path)) as plain,
        OnnxRuntimeBackend(path, read_contract(path), provider=cpu) as padded,
    ):
        seen = set()
        infer = padded._infer

        def record(session, names, feeds):
            seen.add(feeds["features"].shape[1])
            return infer(session, names, feeds)

        padded._infer = record
        for batch in (videos(1), videos(63, 9), videos(65), videos(520, 500)):
            feeds = pad(batch)
            expected, found = plain.infer(feeds), padded.infer(feeds)
            for output, array in found.items():
                assert array.shape == expected[output].shape
                np.testing.assert_allclose(array, expected[output], atol=1e-5)
        assert seen == {64, 128, 768}


def test_what_has_the_length_is_not_copied(videos):
    feeds = pad(videos(64))
    assert pad_time(feeds, 64)["features"] is feeds["features"]


def test_videos_of_a_bucket_share_a_batch():
    lengths = [10, 60, 30, 1]
    assert group_by_length(lengths, 4, lambda _: None, padded_to=bucket) == [[1, 2, 0, 3]]
    assert len(group_by_length(lengths, 4, lambda _: None)) > 1


def test_a_batch_of_a_gpu_is_bounded_by_its_snippets(box, tiny_path, videos):
    """8 videos of 4096 would take 268 MB of full-size features alone."""
    profile = Profile((1, 8, 8), (1, 600, 4160))
    options = EngineOptions(backend="tensorrt", tensorrt=TensorRtOptions(profiles=(profile,)))
    box.cuda.memory_bytes = 4 << 30
    with Localizer.load(tiny_path, options) as trt:
        trt.network.run(videos(*[600] * 8, *[100] * 8))
    shapes = [call[3][:2] for call in box.calls if call[2] == "features"]
    assert shapes == [(6, 600), (2, 600), (8, 100)]
