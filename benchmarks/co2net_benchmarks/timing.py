"""Samples of time -> percentiles with enough samples behind them, spread, ratios."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILE_DEFINITION = (
    "nearest rank: the smallest sample that at least p % of all samples do not exceed; "
    "no sample is dropped"
)
COV_LIMIT = 0.025
"""Coefficient of variation above which the clock or the machine moved during the measurement."""


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile: the ceil(percent / 100 * n)-th smallest of n samples.

    Raises ValueError without samples or for a percent outside 1..100.
    """
    if not samples or not 1 <= percent <= 100:
        raise ValueError(f"percentile {percent} of {len(samples)} samples")
    rank = -(-percent * len(samples) // 100)
    return sorted(samples)[rank - 1]


def required_samples(percent: int, confidence: float = 0.99) -> int:
    """Return the number of samples that a percentile needs (MLPerf's early stopping).

    The smallest n for which at most one of n samples lying beyond the true percentile is less
    likely than 1 - confidence: 64 for p90 and 662 for p99. With fewer, the tail may simply not
    have been seen.
    """
    inside = percent / 100
    count = 2
    while inside**count + count * (1 - inside) * inside ** (count - 1) > 1 - confidence:
        count += 1
    return count


@dataclass(frozen=True)
class Interval:
    """A median and the 95 % interval around it (that of the smallest and largest if n < 6)."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the nearest-rank median and its distribution-free interval (order statistics).

    The interval runs from the k-th smallest to the k-th largest value, with the largest k for
    which the binomial(n, 1/2) mass outside does not exceed 1 - confidence; k = 1 if there is none.
    """
    ordered, count = sorted(values), len(values)
    outside = 2 * 0.5**count
    k = 1
    while k < count / 2:
        outside += 2 * math.comb(count, k) * 0.5**count
        if outside > 1 - confidence:
            break
        k += 1
    return Interval(percentile(ordered, 50), ordered[k - 1], ordered[count - k])


@dataclass(frozen=True)
class Summary:
    """Figures of one stage, in seconds."""

    count: int
    mean_s: float
    min_s: float
    max_s: float
    p50_s: float
    p90_s: float | None  # None with too few samples (`required_samples`)
    p99_s: float | None  # likewise
    cov: float | None  # standard deviation (n - 1) over mean; None for a single sample

    @property
    def unsteady(self) -> bool:
        """Whether the coefficient of variation exceeds the limit of 2.5 %."""
        return self.cov is not None and self.cov > COV_LIMIT


def summarize(samples: Sequence[float]) -> Summary:
    """Return the figures of samples in seconds. Raises ValueError without samples."""
    count = len(samples)
    mean = math.fsum(samples) / count if count else 0.0
    cov = None
    if count > 1 and mean > 0:
        cov = math.sqrt(math.fsum((x - mean) ** 2 for x in samples) / (count - 1)) / mean
    p90, p99 = (
        percentile(samples, percent) if count >= required_samples(percent) else None
        for percent in (90, 99)
    )
    return Summary(
        count, mean, min(samples), max(samples), percentile(samples, 50), p90, p99, cov
    )  # fmt: skip


def paired_ratio(turns: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> Interval:
    """Return the ratio of the times of `turns` to those of `base`: its median over the turns.

    Both hold samples in seconds, by turn; below 1 is faster than `base`. The k-th turns of two
    targets lie next to each other in time, so a machine that slows down for a while slows both,
    and their ratio stands.
    """
    return median_interval(
        [
            percentile(ours, 50) / percentile(theirs, 50)
            for ours, theirs in zip(turns, base, strict=True)
        ]
    )
