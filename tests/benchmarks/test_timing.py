"""Statistics of times: percentiles by their definition, sample counts, intervals, ratios."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_benchmarks.timing import (
    median_interval,
    paired_ratio,
    percentile,
    required_samples,
    summarize,
)

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200)


@given(TIMES, st.integers(1, 100))
def test_percentile_is_the_smallest_sample_that_covers_its_share(samples, percent):
    found = percentile(samples, percent)
    assert found in samples

    def covered(value):
        return 100 * sum(sample <= value for sample in samples) >= percent * len(samples)

    assert covered(found)
    assert not any(covered(sample) for sample in samples if sample < found)


def test_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 samples"):
        percentile([], 50)
    with pytest.raises(ValueError, match="percentile 0"):
        percentile([1.0], 0)


def test_required_samples_are_those_of_mlperf():
    assert required_samples(90) == 64
    assert required_samples(99) == 662


@given(st.integers(1, 98))
def test_required_samples_are_the_fewest(percent):
    """At most one sample beyond the percentile is less likely than 1 % from there on, only."""

    def unseen(count):
        inside = percent / 100
        return sum(
            math.comb(count, beyond) * (1 - inside) ** beyond * inside ** (count - beyond)
            for beyond in (0, 1)
        )

    count = required_samples(percent)
    assert unseen(count) <= 0.01 + 1e-12
    assert count == 2 or unseen(count - 1) > 0.01


def test_tail_percentiles_need_their_samples():
    few, enough, many = (summarize([0.1] * count) for count in (63, 64, 662))
    assert (few.p90_s, few.p99_s) == (None, None)
    assert (enough.p90_s, enough.p99_s) == (0.1, None)
    assert (many.p90_s, many.p99_s) == (0.1, 0.1)


def test_summary_keeps_the_tail_and_flags_a_moving_clock():
    steady = summarize([1.0, 1.01, 0.99, 1.0])
    assert not steady.unsteady
    spiky = summarize([1.0] * 99 + [50.0])
    assert spiky.max_s == 50.0
    assert spiky.p50_s == 1.0
    assert spiky.mean_s == pytest.approx(1.49)
    assert spiky.unsteady
    assert summarize([2.0]).cov is None


@given(TIMES)
def test_interval_holds_the_median_and_is_made_of_samples(values):
    found = median_interval(values)
    assert found.low <= found.median <= found.high
    assert {found.low, found.median, found.high} <= set(values)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 12, 20, 64, 101])
def test_interval_is_the_narrowest_with_its_confidence(count):
    """The k-th smallest and largest enclose the median with mass 1 - 2 P(X < k), X ~ B(n, 1/2)."""
    values = [float(value) for value in range(count)]
    found = median_interval(values)
    k = int(found.low) + 1
    assert found.high == count - k

    def outside(k):
        return 2 * sum(math.comb(count, i) for i in range(k)) / 2**count

    assert outside(k) <= 0.05
    assert outside(k + 1) > 0.05


def test_short_series_give_their_whole_range():
    found = median_interval([3.0, 1.0, 2.0])
    assert (found.low, found.median, found.high) == (1.0, 2.0, 3.0)


def test_paired_ratio_survives_a_machine_that_slows_down():
    """Both slow down tenfold in the middle; the ratio of medians over all samples would not see
    which turn belongs to which."""
    speed = [1.0] * 4 + [10.0] * 4
    ours = [[0.5 * factor] * 3 for factor in speed]
    base = [[1.0 * factor] * 3 for factor in speed]
    found = paired_ratio(ours, base)
    assert (found.low, found.median, found.high) == (0.5, 0.5, 0.5)
