"""Rendered videos: what the annotation says is what the pixels show."""

import numpy as np
import pytest

from co2net.data import synthetic_video
from co2net.data.synthetic_video import FPS, HEIGHT, WIDTH, Scene, Script, render, write_scripts
from co2net.data.synthetic_video import annotations as script_annotations


def script(*kinds, seconds=2.0, seed=0):
    scenes = tuple(
        Scene(seconds * n, seconds * (n + 1), shape, motion)
        for n, (shape, motion) in enumerate(kinds)
    )
    return Script("clip", "train", seed, scenes)


def frames(*kinds, seed=0):
    return np.stack(list(render(script(*kinds, seed=seed)))).astype(np.int32)


def colored(images):
    """Which pixels are neither background nor a gray shape."""
    return images.max(-1) - images.min(-1) > 60


def test_actions_are_annotated_and_distractions_are_not():
    scripts = write_scripts(3, 12, 0)
    found = script_annotations(scripts, 3)
    assert found.classes == ("Shake", "Bounce", "Pulse")
    kinds = {(s.shape is None, s.motion is None) for each in scripts for s in each.scenes}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    for each, video in zip(scripts, found.videos, strict=True):
        assert len(video.labels) == 1
        assert 2 <= len(video.segments) <= 3
        assert video.duration_s == each.duration_s
        for (start_s, end_s), label in zip(video.segments, video.segment_labels, strict=True):
            assert Scene(start_s, end_s, label, label) in each.scenes


def test_every_third_video_tests_and_each_subset_has_every_class():
    videos = script_annotations(write_scripts(4, 12, 0), 4).videos
    assert [v.subset for v in videos] == ["train", "train", "test"] * 4
    assert {v.labels for v in videos if v.subset == "test"} == {(0,), (1,), (2,), (3,)}


def test_the_seed_decides():
    assert write_scripts(4, 6, 1) == write_scripts(4, 6, 1) != write_scripts(4, 6, 2)
    assert (frames((0, 0)) == frames((0, 0))).all()
    assert (frames((0, 0)) != frames((0, 0), seed=1)).any()


def test_a_frame_shows_its_scene():
    images = frames((None, None), (1, 1), (None, 1), (1, None))
    assert images.shape == (8 * FPS, HEIGHT, WIDTH, 3)
    nothing, action, motion, shape = np.split(colored(images).mean(axis=(1, 2)), 4)
    assert nothing.max() == 0
    assert motion.max() == 0
    assert action.min() > 0.1
    assert shape.min() > 0.1


@pytest.mark.parametrize(("label", "spread"), [(0, (1, 0)), (1, (0, 1)), (3, (1, 1))])
def test_a_shape_moves_in_the_way_of_its_class(label, spread):
    mask = colored(frames((label, label), (label, None)))
    where = np.array([np.argwhere(each).mean(0)[::-1] for each in mask])
    moving, still = np.split(where, 2)
    assert still.std(0) == pytest.approx((0, 0), abs=0.1)
    assert (moving.std(0) > 5).tolist() == [bool(side) for side in spread]


def test_a_pulse_changes_its_size():
    size = colored(frames((2, 2), (2, None))).mean(axis=(1, 2))
    moving, still = np.split(size, 2)
    assert moving.max() > 2 * moving.min()
    assert still.std() < 0.01 * still.mean()


def test_files_hold_the_frames(tmp_path):
    av = pytest.importorskip("av")
    short = script((0, 0), seconds=0.8)
    synthetic_video.write_video(short, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    wanted = np.stack(list(render(short)))
    assert len(read) == len(wanted) == 20
    assert np.abs(np.stack(read).astype(int) - wanted).mean() < 12
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("classes", [1, 5])
def test_classes_have_bounds(classes):
    with pytest.raises(ValueError, match=f"expected 2 to 4 classes, got {classes}"):
        write_scripts(classes, 6, 0)
