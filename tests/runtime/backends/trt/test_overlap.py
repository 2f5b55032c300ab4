"""Batches follow each other without gaps, in memory that is taken once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from co2net_runtime.errors import BackendError, InputError


def same(found, expected):
    np.testing.assert_allclose(found.cas, expected.cas, atol=1e-5)
    np.testing.assert_allclose(found.attention, expected.attention, atol=1e-6)


def batches(videos, *lengths):
    for features in videos(*lengths):
        yield {"features": features[None], "lengths": np.array([len(features)])}


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_batch_arrives_while_another_one_computes(load, box, videos, cuda_graphs):
    """On the stand-in's clock: uploads take 1, the network takes 2."""
    trt = load(cuda_graphs=cuda_graphs).network._backend
    for _ in trt.infer_each(batches(videos, 90, 80)):  # what is recorded is recorded here
        pass
    box.cuda.history.clear()
    began = box.cuda.time
    assert len(list(trt.infer_each(batches(videos, 90, 80, 99, 70, 85)))) == 5
    # the first has two inputs to wait for, features and lengths; the network's time remains
    assert box.cuda.time - began == 2 + 5 * 2
    done = [(start, end) for kind, start, end in box.cuda.history if kind == "compute"]
    for (_, end), (start, _) in pairwise(done):
        assert start == end  # no gap, so nothing waited for the CPU


def test_one_after_another_it_would_take_longer(load, box, videos):
    trt = load().network._backend
    began = box.cuda.time
    for feeds in batches(videos, 90, 80, 99, 70, 85):
        trt.infer(feeds)
    assert box.cuda.time - began == 5 * (2 + 2)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_each_batch_gets_its_own_answer(load, localizer, videos, cuda_graphs):
    lengths = (90, 3, 300, 88, 95, 350, 100, 2, 91, 90)
    trt = load(cuda_graphs=cuda_graphs).network._backend
    found = trt.infer_each(batches(videos, *lengths))
    for outputs, features in zip(found, videos(*lengths), strict=True):
        expected = localizer.network.run([features])[0]
        np.testing.assert_allclose(outputs["cas"][0], expected.cas, atol=1e-5)


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_jetson_copies_nothing(box, load, localizer, videos, cuda_graphs):
    box.cuda.integrated = True
    trt = load(cuda_graphs=cuda_graphs)
    for features in videos(90, 300, 20):
        same(trt.network.run([features])[0], localizer.network.run([features])[0])
    assert {kind for kind, *_ in box.cuda.history} == {"compute"}


def test_what_ends_the_batches_leaves_nothing_running(load, box, localizer, videos):
    trt = load()
    backend = trt.network._backend

    def cut_off():
        yield from batches(videos, 90, 80)
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        list(backend.infer_each(cut_off()))
    half = backend.infer_each(batches(videos, 90, 80, 70))
    next(half)
    with ThreadPoolExecutor(1) as other:
        other.submit(half.close).result()
    failing = backend.infer_each(batches(videos, 90, 80, 70))
    next(failing)
    box.fail_execute = ["no such kernel"]
    with pytest.raises(BackendError, match="no such kernel"):
        next(failing)
    assert not any(stream.pending for stream in box.cuda.streams.values())
    same(trt.network.run([videos(50)[0]])[0], localizer.network.run([videos(50)[0]])[0])


def test_memory_is_taken_once(load, box, videos):
    """Longer videos find it there; freeing and taking it would wait for the GPU."""
    trt = load()
    trt.network.run(videos(20, 21))
    held = {*box.cuda.blocks, *box.cuda.pinned}
    trt.network.run(videos(60, 99, 100))
    assert {*box.cuda.blocks, *box.cuda.pinned} == held
