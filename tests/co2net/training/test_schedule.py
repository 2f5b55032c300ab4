import math

import pytest

from co2net.config import TrainConfig
from co2net.training.schedule import learning_rate


def rates(**settings):
    config = TrainConfig(learning_rate=0.1, **settings)
    return [learning_rate(config, iteration) for iteration in range(1, config.iterations + 1)]


def test_without_options_the_rate_is_the_configs_bit_by_bit():
    assert set(rates(iterations=10)) == {0.1}


def test_the_warm_up_rises_linearly_and_ends_at_the_rate():
    assert rates(iterations=8, warmup=4) == pytest.approx([0.025, 0.05, 0.075] + [0.1] * 5)


def test_a_cosine_falls_from_the_rate_to_zero():
    found = rates(iterations=10, warmup=2, schedule="cosine")
    expected = [0.05 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert found == pytest.approx([0.05, 0.1, *expected])
    assert found[2] == 0.1
