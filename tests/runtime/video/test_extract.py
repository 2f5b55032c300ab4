import itertools
import threading

import numpy as np
import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError, ContractError, InputError, MissingDependencyError
from co2net_runtime.video import extract
from co2net_runtime.video import resize as resize_module
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.files import find_videos, write_features
from co2net_runtime.video.flow import FlowEstimator, flow_levels, gray
from co2net_runtime.video.resize import center_crop, resize, resized_size
from co2net_runtime.video.ticks import ticks

ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


@pytest.fixture
def extractor(rgb_path, flow_path):
    with Extractor.open(rgb_path, flow_path, ENGINE) as opened:
        yield opened


def by_hand(extractor, path):
    """The chain in the plainest words: whole video in memory, one thread."""
    with VideoReader(path) as video:
        images = [tick.read() for tick in ticks(list(video), 25.0)]
    small = [resize(image, resized_size(*image.shape[:2], 40)) for image in images]
    estimator = FlowEstimator("dis-fast")
    flows = [
        flow_levels(center_crop(estimator(gray(a), gray(b)), 32), 20.0)
        for a, b in itertools.pairwise(small)
    ]
    rows = []
    for start in range(0, len(images) // 16 * 16, 16):
        colors = np.stack([center_crop(image, 32) for image in small[start : start + 16]])
        motion = flows[start : start + 16]
        motion += motion[-1:] * (16 - len(motion))
        rows.append(
            np.concatenate(
                [
                    extractor.rgb.features(colors[None]),
                    extractor.flow.features(np.stack(motion)[None]),
                ],
                axis=1,
            )
        )
    return np.concatenate(rows)


@pytest.mark.parametrize(("frames", "fps"), [(48, 25), (70, 30), (60, 12), (600, 240), (3, 1)])
def test_features_are_those_of_the_plain_chain(extractor, render, frames, fps):
    path = render(frames=frames, fps=fps)
    found = extractor(path)
    expected = by_hand(extractor, path)
    assert found.shape == (int(frames / fps * 25 + 1e-9) // 16, 16)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.std() > 0


def test_stages_are_timed(extractor, render):
    extractor(render())
    assert set(extractor.stages.seconds) == {
        "decode", "resize", "flow", "rgb network", "flow network"
    }  # fmt: skip


def test_a_video_shorter_than_a_snippet_is_refused(extractor, render):
    with pytest.raises(InputError, match=r"10 frames, shorter than one snippet of 16 frames"):
        extractor(render(frames=10))
    assert len(extractor(render(frames=16))) == 1


def test_no_thread_is_left_when_the_reader_stops_early(extractor, render):
    rows = extractor.rows(render(frames=400))
    next(rows)
    rows.close()
    assert not [one for one in threading.enumerate() if one.name == "co2net-video"]


def test_backbones_of_the_wrong_kind_are_refused(rgb_path, flow_path, tiny_path, make_backbone):
    with pytest.raises(InputError, match="a backbone of the flow stream, expected one of the rgb"):
        Extractor.open(flow_path, rgb_path, ENGINE)
    with pytest.raises(ContractError, match="expected a backbone"):
        Extractor.open(tiny_path, None, ENGINE)
    other = make_backbone("flow", 10, name="fast.onnx", fps=30.0)
    with pytest.raises(InputError, match=r"made for fps 30, but .* for 25"):
        Extractor.open(rgb_path, other, ENGINE)
    with pytest.raises(InputError, match=r"dis-fast flow, asked for was tvl1.*--accept-mismatch"):
        Extractor.open(rgb_path, flow_path, ENGINE, flow_algorithm="tvl1")


def test_a_width_that_the_contract_does_not_say_is_an_error(make_backbone, render):
    wrong = make_backbone("rgb", 6, name="claims.onnx", claimed=7)
    with (
        Extractor.open(wrong, None, ENGINE) as opened,
        pytest.raises(BackendError, match=r"shape \(1, 6\), its contract says \(1, 7\)"),
    ):
        opened(render(frames=16))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_file_is_a_whole_npy(extractor, render, tmp_path, dtype):
    path, counts = render(frames=50), []
    target = tmp_path / "clip.npy"
    assert write_features(extractor, path, target, dtype, counts.append) == 3
    found = np.load(target)
    assert found.dtype == dtype
    assert sum(counts) == 3
    np.testing.assert_allclose(found, extractor(path), rtol=1e-3)
    assert np.load(target, mmap_mode="r").shape == (3, 16)


def test_nothing_is_left_of_a_video_that_fails(extractor, render, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError):
        write_features(extractor, render(frames=5), out / "clip.npy")
    assert list(out.iterdir()) == []


def test_videos_are_found_in_folders_and_by_patterns(tmp_path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    assert list(find_videos([tmp_path])) == ["a", "b"]
    assert list(find_videos([tmp_path / "*.mp4"])) == ["b"]
    (tmp_path / "b.avi").touch()
    with pytest.raises(InputError, match="has the same name as"):
        find_videos([tmp_path])
    with pytest.raises(InputError, match="no file matches"):
        find_videos([tmp_path / "*.webm"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video file in this folder"):
        find_videos([tmp_path / "empty"])
    with pytest.raises(InputError, match=r"^rtsp://door/1: an address, expected video files"):
        find_videos(["rtsp://user:secret@door/1"])


def test_rgb_needs_no_opencv(rgb_path, flow_path, render, monkeypatch):
    path = render()
    with Extractor.open(rgb_path, None, ENGINE) as extractor:
        expected = extractor(path)
    for module in (extract, resize_module):
        monkeypatch.setattr(module, "find_cv2", lambda: None)
    with Extractor.open(rgb_path, None, ENGINE) as extractor:
        found = extractor(path)
        assert extractor.extraction.versions["opencv"] == "none: resized by numpy"
    np.testing.assert_allclose(found, expected, atol=0.02)
    with pytest.raises(MissingDependencyError, match="optical flow needs opencv-contrib"):
        Extractor.open(rgb_path, flow_path, ENGINE)
