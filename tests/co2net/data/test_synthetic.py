"""Planted features: reproducible, and what they claim to plant is in them."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from co2net.cli.data import main
from co2net.data.annotations import read_annotations
from co2net.data.dataset import open_dataset
from co2net.data.synthetic import (
    SyntheticOptions,
    plant_evidence,
    plant_features,
    prototype,
    snippet_count,
)
from co2net.data.synthetic_annotations import random_annotations
from co2net_runtime.options import SnippetTiming

# actions that show well, whatever the defaults are calibrated to
SMALL = SyntheticOptions(seed=3, rgb_dim=48, flow_dim=32, visibility=0.4)
ANNOTATIONS = random_annotations(classes=3, videos=30, seed=3)


def inside(video, label, margin_s):
    """Which snippets lie in an action of the class, widened by a margin (negative: narrowed)."""
    length = snippet_count(video, SMALL.timing)
    centres_s = SMALL.timing.to_seconds(np.arange(length) + 0.5)
    found = np.zeros(length, dtype=bool)
    for start_s, end_s in video.segments[video.segment_labels == label]:
        found |= (centres_s > start_s - margin_s) & (centres_s < end_s + margin_s)
    return found


def gathered(values):
    """Values of each video's first class: inside an action, and clearly outside of any."""
    acting, other = [], []
    for video in ANNOTATIONS.videos:
        label = int(video.segment_labels[0])
        shown = values(video, label)
        acting.append(shown[inside(video, label, -1.0)])
        other.append(shown[~np.any([inside(video, c, 1.5) for c in range(3)], axis=0)])
    return np.concatenate(acting), np.concatenate(other)


def test_only_in_actions_do_both_streams_agree():
    def shown(video, label):
        evidence = plant_evidence(video, 3, SMALL)
        return np.stack([evidence.appearance[:, label], evidence.motion[:, label]], axis=1)

    acting, other = gathered(shown)
    assert len(acting) > 200
    assert len(other) > 500
    assert (acting.min(axis=1) > 0.3).mean() > 0.95
    # where stretches meet, both may half show for a moment
    assert (other.min(axis=1) > 0.3).mean() < 0.02
    appearance_alone = (other[:, 0] > 0.3) & (other[:, 1] < 0.1)
    motion_alone = (other[:, 1] > 0.3) & (other[:, 0] < 0.1)
    assert 0.2 < appearance_alone.mean() < 0.6
    assert 0.1 < motion_alone.mean() < 0.4


def test_the_features_show_an_action_by_both_streams_together():
    def match(video, label):
        features = plant_features(video, 3, SMALL)
        streams = np.split(features, [SMALL.rgb_dim], axis=1)
        matches = []
        for stream, part in enumerate(streams):
            pattern = prototype(label, stream, part.shape[1], SMALL)
            others = [prototype(c, stream, part.shape[1], SMALL) for c in range(3)]
            # against the video's own look and what the classes have in common
            matches.append((part - part.min(axis=0)) @ (pattern - 0.5 * np.mean(others, axis=0)))
        return np.stack(matches, axis=1)

    acting, other = gathered(match)
    scale = acting.mean(axis=0)

    def separation(score):
        """Probability that a snippet in an action scores above one outside."""
        return (score(acting)[:, None] > score(other)[None]).mean()

    rgb = separation(lambda m: m[:, 0])
    flow = separation(lambda m: m[:, 1])
    both = separation(lambda m: (m / scale).min(axis=1))
    assert 0.6 < rgb < both - 0.03
    assert 0.6 < flow < both - 0.03
    assert both > 0.85


def test_a_video_depends_on_the_seed_and_itself_alone():
    first, second = ANNOTATIONS.videos[:2]
    features = plant_features(first, 3, SMALL)
    plant_features(second, 3, SMALL)
    np.testing.assert_array_equal(plant_features(first, 3, SMALL), features)
    renamed = dataclasses.replace(first, name="other")
    assert not np.array_equal(plant_features(renamed, 3, SMALL), features)
    reseeded = dataclasses.replace(SMALL, seed=4)
    assert not np.array_equal(plant_features(first, 3, reseeded), features)


def test_features_look_like_i3ds():
    video = ANNOTATIONS.videos[0]
    features = plant_features(video, 3, SMALL)
    assert features.dtype == np.float32
    assert features.shape == (int(video.duration_s * 25 / 16), 80)
    assert np.isfinite(features).all()
    assert features.min() == 0


def test_other_timings_give_other_lengths():
    video = dataclasses.replace(ANNOTATIONS.videos[0], duration_s=10.0)
    assert snippet_count(video, SnippetTiming(4, 30.0)) == 75
    untimed = dataclasses.replace(video, duration_s=None)
    assert snippet_count(untimed, SMALL.timing) == int(video.segments.max() / 0.64)
    bare = dataclasses.replace(
        untimed, segments=np.empty((0, 2)), segment_labels=np.empty(0, dtype=np.int64), labels=()
    )
    assert plant_features(bare, 3, SMALL).shape == (1, 80)


def test_classes_are_alike_only_within_their_group():
    def alike(a, b, stream):
        return np.corrcoef(*(prototype(c, stream, 4096, SMALL) for c in (a, b)))[0, 1]

    for stream in (0, 1):
        assert 0.4 < alike(0, 3, stream) < 0.6
        assert abs(alike(0, 4, stream)) < 0.1
    crossed = np.corrcoef(prototype(0, 0, 4096, SMALL), prototype(0, 1, 4096, SMALL))[0, 1]
    assert abs(crossed) < 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"rgb_dim": 0}, {"scene": 0.8, "motion": 0.4}, {"scene": -0.1}, {"visibility": 1.5}],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=r"at least 1|shares|must lie"):
        SyntheticOptions(**wrong)


def test_random_annotations_are_plausible():
    annotations = random_annotations(classes=23, videos=90, seed=1)
    assert len(set(annotations.classes)) == 23
    train, test = annotations.subset("train"), annotations.subset("test")
    assert (len(train), len(test)) == (60, 30)
    assert annotations.label_matrix(train).sum(axis=0).min() >= 2
    for video in annotations.videos:
        starts, ends = video.segments.T
        assert (ends > starts).all()
        assert (starts[1:] > ends[:-1]).all()
        assert ends[-1] < video.duration_s
        assert set(video.labels) == set(video.segment_labels.tolist())
    shown = random_annotations(classes=23, videos=30, seed=1).videos
    for a, b in zip(shown, annotations.videos, strict=False):
        np.testing.assert_array_equal(a.segments, b.segments)
    with pytest.raises(ValueError, match="at least 1 class and 3 videos"):
        random_annotations(classes=1, videos=2, seed=0)


def synth(out, *arguments):
    command = ["synth", str(out), "--rgb-dim", "4", "--flow-dim", "6", *map(str, arguments)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_synth_writes_a_dataset_that_its_seed_decides(tmp_path):
    size = ("--classes", 2, "--videos", 6)
    first = synth(tmp_path / "a", *size)
    assert synth(tmp_path / "b", *size) == first
    assert synth(tmp_path / "c", *size, "--seed", 1) != first
    dataset = open_dataset(tmp_path / "a")
    assert (dataset.rgb_dim, dataset.flow_dim) == (4, 6)
    assert dataset.warnings == ()
    assert len(dataset.videos(dataset.train_subset)) == 4
    assert len(dataset.videos(dataset.test_subset)) == 2


def test_synth_plants_under_given_annotations(tmp_path):
    synth(tmp_path / "a", "--classes", 2, "--videos", 6)
    synth(tmp_path / "b", "--annotations", tmp_path / "a", "--dtype", "float16")
    planted = open_dataset(tmp_path / "b")
    assert planted.annotations.classes == read_annotations(tmp_path / "a").classes
    for video in planted.annotations.videos:
        features = planted.features(video.name)
        assert features.dtype == np.float16
        expected = open_dataset(tmp_path / "a").features(video.name)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
