from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_runtime.decoding import nms
from co2net_runtime.decoding.nms import NestedSegments
from co2net_runtime.decoding.proposals import attention_runs

EMPTY = np.empty(0, dtype=np.int64)


def textbook_soft_nms(start, end, scores, sigma):
    """Soft-NMS over any segments, all against all: order and decayed scores."""
    index, scores = np.arange(len(scores)), scores.copy()
    for head in range(len(scores)):
        taken = head + scores[head:].argmax()
        index[[head, taken]], scores[[head, taken]] = index[[taken, head]], scores[[taken, head]]
        best, rest = index[head], index[head + 1 :]
        inter = np.minimum(end[rest], end[best]) - np.maximum(start[rest], start[best]) + 1
        inter = np.maximum(inter, 0)
        union = (end[best] - start[best] + 1) + (end[rest] - start[rest] + 1) - inter
        scores[head + 1 :] *= np.exp(-((inter / union) ** 2) / sigma)
    return index, scores


@st.composite
def families(draw):
    """(start, end, level, scores): runs of a coarse attention curve; with luck, many ties."""
    snippets = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.sampled_from([2, 3, 10, 1000]))
    attention = (rng.integers(0, steps + 1, snippets) / steps).astype(np.float32)
    thresholds = np.linspace(0.1, 0.9, draw(st.integers(1, 12)))
    start, end, level = attention_runs(attention, thresholds)
    kinds = draw(st.sampled_from([1, 2, 5, 1000]))
    lowest = draw(st.sampled_from([-kinds, -kinds // 2, 0]))
    scores = rng.integers(lowest, lowest + kinds + 1, len(start)) / 8
    return start, end, level, scores


@given(families(), st.sampled_from([1e-4, 0.05, 0.3, 2.0]))
@settings(max_examples=300)
def test_order_and_scores_are_those_of_all_against_all(family, sigma):
    start, end, level, scores = family
    order, decayed = NestedSegments(start, end, level, sigma).soft_nms(scores)
    expected_order, expected_scores = textbook_soft_nms(start, end, scores, sigma)
    assert (order.dtype, decayed.dtype) == (np.int64, np.float64)
    # equal segments with equal scores may stand for each other, so compare what they are
    np.testing.assert_array_equal(start[order], start[expected_order])
    np.testing.assert_array_equal(end[order], end[expected_order])
    np.testing.assert_array_equal(decayed, expected_scores)
    assert sorted(order.tolist()) == list(range(len(start)))


@given(families(), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=200)
def test_many_segments_are_taken_in_windows_with_the_same_result(family, window, rows):
    """To the last bit, ties, negative scores and all."""
    start, end, level, scores = family
    expected = NestedSegments(start, end, level, 0.3).soft_nms(scores)
    with (
        mock.patch.object(nms, "SMALLEST_WINDOW", window),
        mock.patch.object(nms, "WINDOWS", 10**9),
        mock.patch.object(nms, "ROWS", rows),
    ):
        found = NestedSegments(start, end, level, 0.3).soft_nms(scores)
    np.testing.assert_array_equal(found, expected)
    assert (found[0].dtype, found[1].dtype) == (np.int64, np.float64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    """They compare as neither more nor less: the search for the highest would not end."""
    start = np.array([0, 10, 20])
    segments = NestedSegments(start, start + 2, np.zeros(3, dtype=np.int64), 0.3)
    with pytest.raises(ValueError, match="not finite"):
        segments.soft_nms(np.array([1.0, bad, 2.0]))


def test_of_equal_scores_the_first_is_taken_and_the_head_goes_to_its_place():
    # four segments apart from each other: nothing decays, only the order of the list acts
    start = np.array([0, 10, 20, 30])
    segments = NestedSegments(start, start + 2, np.zeros(4, dtype=np.int64), 0.3)
    order, _ = segments.soft_nms(np.array([1.0, 1.0, 2.0, 1.0]))
    assert order.tolist() == [2, 1, 0, 3]
    order, _ = segments.soft_nms(np.array([1.0, 1.0, 1.0, 2.0]))
    assert order.tolist() == [3, 1, 2, 0]


def test_a_duplicate_decays_fully_and_a_negative_score_moves_up():
    start, end, level = np.array([3, 3]), np.array([7, 7]), np.array([0, 1])
    decay = np.exp(-1 / 0.3)
    segments = NestedSegments(start, end, level, 0.3)
    np.testing.assert_allclose(segments.soft_nms(np.array([2.0, 2.0]))[1], [2.0, 2.0 * decay])
    np.testing.assert_allclose(segments.soft_nms(np.array([-2.0, -2.0]))[1], [-2.0, -2.0 * decay])


def test_lengths_count_one_snippet_more_than_the_segments_hold():
    start, end, level = np.array([0, 1]), np.array([9, 4]), np.array([0, 1])
    _, decayed = NestedSegments(start, end, level, 0.3).soft_nms(np.array([1.0, 1.0]))
    np.testing.assert_allclose(decayed, [1.0, np.exp(-((4 / 10) ** 2) / 0.3)])


def test_scores_are_left_as_they_were_and_can_be_followed_by_others():
    start, end, level = np.array([0, 20, 1]), np.array([9, 25, 4]), np.array([0, 0, 1])
    segments, scores = NestedSegments(start, end, level, 0.3), np.array([1.0, 2.0, 3.0])
    first = segments.soft_nms(scores)
    segments.soft_nms(-scores)
    again = segments.soft_nms(scores)
    np.testing.assert_array_equal(scores, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(first, again)


def test_no_segments_give_none():
    order, decayed = NestedSegments(EMPTY, EMPTY, EMPTY, 0.3).soft_nms(np.empty(0))
    assert (order.shape, order.dtype, decayed.shape) == ((0,), np.int64, (0,))
