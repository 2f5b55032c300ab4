import numpy as np
import pytest
import torch

from co2net.config import LossOptions, NetworkOptions
from co2net.losses.co2 import co2_loss
from co2net.model import Outputs
from co2net.training.sampling import BatchSampler
from studies.training_speed import (
    PARTS,
    PublishedSampler,
    Workload,
    measure,
    published_loss,
    speed_table,
)


def test_the_transcription_is_the_same_loss():
    torch.manual_seed(0)
    rgb, flow = torch.rand(10, 12, 1), torch.rand(10, 12, 1)
    outputs = Outputs(torch.rand(10, 12, 7), torch.randn(10, 12, 5), (rgb + flow) / 2, rgb, flow)
    labels = (torch.rand(10, 4) < 0.6).float()
    total = co2_loss(outputs, labels, LossOptions(), pairs=3)["total"]
    torch.testing.assert_close(published_loss(outputs, labels), total)


def test_the_transcription_draws_the_same_batches():
    lengths = [7 + 3 * i for i in range(12)]
    features = [
        np.random.default_rng(i).random((n, 4), dtype=np.float32) for i, n in enumerate(lengths)
    ]
    labels = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    ours = BatchSampler(labels, lengths, seed=5, max_snippets=16)
    theirs = PublishedSampler(features, labels, 16, 5)
    for _ in range(5):
        draw = ours.draw()
        rows, drawn_labels = theirs.batch()
        wanted = [features[v][s] for v, s in zip(draw.videos, draw.snippets, strict=True)]
        assert np.array_equal(rows, np.stack(wanted))
        assert np.array_equal(drawn_labels, labels[draw.videos])


@pytest.fixture
def small():
    return Workload(8, 6, 10, NetworkOptions(attention_dim=4, embed_dim=12))


def test_both_loops_run_and_are_split(small):
    speed = measure(small, rounds=2, iterations=2)
    for split in (speed.split, speed.published_split):
        assert set(split) == set(PARTS)
        assert all(seconds > 0 for seconds in split.values())
    text = speed_table(speed, small).to_text()
    assert "times the transcription" in text
