import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from co2net_export.precision.calibration import (
    METHODS,
    Histogram,
    Range,
    collect,
    entropy,
    min_max,
    percentile,
)
from co2net_runtime.errors import InputError

floats = st.floats(-1e6, 1e6, width=32)


def histogram_of(*chunks):
    histogram = Histogram()
    for chunk in chunks:
        # (N, C): one channel
        histogram.add(np.asarray(chunk, np.float32).reshape(-1, 1))
    return histogram


@given(st.lists(arrays.arrays(np.float32, st.integers(1, 50), elements=floats), min_size=1))
def test_histogram_counts_every_value_in_its_bin(chunks):
    histogram = histogram_of(*chunks)
    values = np.concatenate(chunks)
    assert histogram.counts.sum() == len(values)
    assert histogram.low == min(0, values.min())
    assert histogram.high == max(0, values.max())
    assert np.abs(values).max() <= histogram.limit
    # a value on an edge may fall on either side of it
    width = histogram.edges[1] - histogram.edges[0]
    ranks = np.sort(values)
    below = np.cumsum(histogram.counts)
    for value, rank in zip(ranks, range(1, len(ranks) + 1), strict=True):
        position = np.searchsorted(below, rank)
        assert histogram.edges[position] - width <= value <= histogram.edges[position + 1] + width


@given(st.lists(arrays.arrays(np.float32, st.integers(1, 50), elements=floats), min_size=1))
def test_every_method_covers_zero_and_no_more_than_the_values(chunks):
    histogram = histogram_of(*chunks)
    for name, method in METHODS.items():
        found = method(histogram)
        assert histogram.low <= found.low <= 0 <= found.high <= histogram.high, name


def test_means_are_those_of_each_channel_over_all_calls():
    rng = np.random.default_rng(0)
    parts = [rng.random((1, 3, length), np.float32) for length in (5, 17)]
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    expected = np.concatenate(parts, axis=2).mean(axis=(0, 2), dtype=np.float64)
    np.testing.assert_allclose(histogram.means, expected, rtol=1e-6)


def test_percentile_leaves_the_tails_out():
    values = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    found = percentile(histogram_of(values, [100.0]))
    low, high = np.quantile(values, [0.000025, 0.999975])
    assert found.low == pytest.approx(low, abs=0.2)
    assert found.high == pytest.approx(high, abs=0.2)


def test_entropy_clips_a_lone_outlier_and_keeps_a_full_range():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200_000).astype(np.float32)
    assert entropy(histogram_of(values, [50.0])).high < 10
    uniform = rng.uniform(0, 1, 200_000).astype(np.float32)
    assert entropy(histogram_of(uniform)).high == pytest.approx(1, abs=0.01)
    assert min_max(histogram_of(values, [50.0])).high == 50


def test_a_range_holds_zero():
    with pytest.raises(ValueError, match="must hold 0"):
        Range(0.5, 1.0)


def test_collect_sees_what_the_graph_computes(tiny, tiny_graph):
    videos = list(tiny.tiny_videos().values())
    found = collect(tiny_graph, ["Where_0.out", "fusion.0.out"], videos)
    everything = np.concatenate(videos)
    assert found["Where_0.out"].counts.sum() == everything.size
    assert found["Where_0.out"].high == everything.max()
    assert found["fusion.0.out"].low < 0


def test_calibration_without_videos_is_an_error(tiny_graph):
    with pytest.raises(InputError, match="no videos"):
        collect(tiny_graph, ["Where_0.out"], [])
