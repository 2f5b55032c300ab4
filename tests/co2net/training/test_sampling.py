import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.training.sampling import BatchSampler, resample
from co2net_runtime.errors import InputError


@pytest.fixture(scope="module")
def toy(golden_inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    golden_inputs.write_toy_bundle(str(folder))
    notes = folder / "Thumos14reduced-Annotations"
    # the toy bundle is our own: its object arrays are safe to unpickle
    features = np.load(folder / "Thumos14reduced-I3D-JOINTFeatures.npy", allow_pickle=True)[:60]
    present = np.load(notes / "labels_all.npy", allow_pickle=True)[:60]
    classes = [name.decode() for name in np.load(notes / "classlist.npy")]
    labels = np.array([[name in names for name in classes] for names in present])
    return features, labels


def test_draws_equal_golden(toy, golden):
    features, labels = toy
    arrays = golden("training")
    sampler = BatchSampler(labels, [len(x) for x in features], seed=3552, max_snippets=64)
    assert sampler.unpaired == ()
    for n in range(4):
        draw = sampler.draw()
        lengths = [len(features[v]) for v in draw.videos]
        assert lengths == arrays[f"sample{n}_lengths"].tolist()
        assert np.array_equal(draw.snippets, arrays[f"sample{n}_snippets"])
        assert np.array_equal(labels[draw.videos], arrays[f"sample{n}_labels"])
        checksum = [
            features[v][snippets].sum(dtype=np.float64)
            for v, snippets in zip(draw.videos, draw.snippets, strict=True)
        ]
        np.testing.assert_allclose(checksum, arrays[f"sample{n}_checksum"], rtol=1e-12)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_resampling_equals_one_choice_at_a_time(length, target, seed):
    ours, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
    assert resample(length, target, ours).tolist() == literal_resample(length, target, theirs)
    assert ours.randint(2**31) == theirs.randint(2**31)


def literal_resample(length, target, random):
    """The draws as method, section 3 states them."""
    if length == target:
        return list(range(length))
    p = [i * length / target for i in range(target)]
    for i in range(target):
        start = int(p[i])
        end = int(p[i + 1]) + 1 if i < target - 1 else length
        more = start != int(p[i + 1]) if i < target - 1 else start < length - 1
        p[i] = random.choice(range(start, end)) if more else start
    return p


def test_a_restored_sampler_draws_the_same_batches():
    labels, lengths = np.eye(4)[np.arange(20) % 4], np.arange(20) + 5
    sampler = BatchSampler(labels, lengths, seed=7, max_snippets=11)
    for _ in range(3):
        sampler.draw()
    state = json.loads(json.dumps(sampler.state()))
    other = BatchSampler(labels, lengths, seed=8, max_snippets=11)
    other.restore(state)
    for _ in range(50):
        ours, theirs = sampler.draw(), other.draw()
        assert np.array_equal(ours.videos, theirs.videos)
        assert np.array_equal(ours.snippets, theirs.snippets)


def test_a_class_with_one_video_is_left_out_of_the_pairs():
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    sampler = BatchSampler(labels, [9] * 5, seed=0, max_snippets=4, singles=0)
    assert sampler.unpaired == (1,)
    pairs = np.concatenate([sampler.draw().videos.reshape(3, 2) for _ in range(50)])
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 1), (3, 4)}


def test_no_class_with_two_videos_is_an_error():
    with pytest.raises(InputError, match="no class has two training videos"):
        BatchSampler(np.eye(3), [5, 5, 5], seed=0, max_snippets=4)
