"""The learning rate over the iterations."""

import math

from co2net.config import TrainConfig


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """Return the rate of an iteration, the first being 1.

    It rises linearly over the first `warmup` iterations. Then it stays, or follows half a cosine
    that reaches 0 just after the last iteration. It depends on nothing else, so a resumed run
    needs no state of it.
    """
    if iteration <= config.warmup:
        return config.learning_rate * iteration / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (iteration - 1 - config.warmup) / (config.iterations - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
