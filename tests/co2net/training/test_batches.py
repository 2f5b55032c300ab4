import itertools

import numpy as np
import pytest
import torch

from co2net.training.batches import BatchLoader
from co2net.training.sampling import BatchSampler
from co2net_runtime.errors import InputError

LABELS = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
LENGTHS = [5 + i for i in range(12)]
NAMES = [f"video{i}" for i in range(12)]


def features(name, dtype=np.float32):
    index = NAMES.index(name)
    return (np.arange(LENGTHS[index] * 4).reshape(-1, 4) / 7 + index).astype(dtype)


def sampler():
    return BatchSampler(LABELS, LENGTHS, seed=1, max_snippets=8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_batches_are_the_samplers_draws_in_float32(dtype):
    expected = sampler()
    with BatchLoader(sampler(), NAMES, LABELS, lambda name: features(name, dtype)) as batches:
        for batch in itertools.islice(batches, 5):
            draw = expected.draw()
            assert batch.videos == tuple(NAMES[i] for i in draw.videos)
            assert batch.features.dtype == torch.float32
            for row, (video, snippets) in enumerate(zip(draw.videos, draw.snippets, strict=True)):
                wanted = features(NAMES[video], dtype)[snippets].astype(np.float32)
                assert np.array_equal(batch.features[row].numpy(), wanted)
            assert np.array_equal(batch.labels.numpy(), LABELS[draw.videos])
            assert batch.sampler_state == expected.state()


def test_the_state_of_a_consumed_batch_draws_the_next_one():
    with BatchLoader(sampler(), NAMES, LABELS, features) as batches:
        consumed = [next(batches) for _ in range(4)]
    other = sampler()
    other.restore(consumed[1].sampler_state)
    with BatchLoader(other, NAMES, LABELS, features) as batches:
        for batch in consumed[2:]:
            assert torch.equal(next(batches).features, batch.features)


def test_what_goes_wrong_in_the_thread_reaches_the_loop():
    def read(name):
        raise InputError(f"{name}: truncated")

    loader = BatchLoader(sampler(), NAMES, LABELS, read)
    with loader as batches, pytest.raises(InputError, match="truncated"):
        next(batches)


def test_leaving_ends_the_thread():
    loader = BatchLoader(sampler(), NAMES, LABELS, features)
    with loader as batches:
        next(batches)
    assert not loader._thread.is_alive()
