import json
import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_runtime.decoding import proposals
from co2net_runtime.decoding.proposals import (
    SnippetSegments,
    attention_runs,
    class_probabilities,
    decode,
)
from co2net_runtime.options import DecodeOptions

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "proposals.json").read_text())
GATE_OPEN = DecodeOptions(class_threshold=0.0)


def rows(found: SnippetSegments) -> np.ndarray:
    """(N, 4): start, end, label, score, as the golden arrays have them."""
    return np.stack([found.start, found.end, found.label, found.score], axis=1)


def without_ambiguous(found: np.ndarray, video: str) -> np.ndarray:
    """Step 6 of the method, which is the evaluation's: drop what overlaps an ignored interval."""
    for name, _, *interval in GOLDEN["ambiguous"]:
        if name == video:
            start, end = (round(float(seconds) * 25 / 16) for seconds in interval)
            found = found[np.minimum(found[:, 1], end) <= np.maximum(found[:, 0], start)]
    return found


def curves(snippets: int, classes: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cas = rng.standard_normal((snippets, classes + 1)).astype(np.float32)
    return cas, rng.random(snippets, dtype=np.float32)


def one_class(activation: list[float], attention: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """A class with this activation under full attention, and a background that never wins."""
    attn = np.array(attention, dtype=np.float32)
    cas = np.stack([np.array(activation) / attn, np.full(len(attn), -50.0)], axis=1)
    return cas.astype(np.float32), attn


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_rows_and_order_are_the_published_ones(case, golden):
    arrays = golden("proposals")
    cas, attention, expected = (arrays[f"{case['name']}_{part}"] for part in ("cas", "attn", "out"))
    found = decode(cas, attention, DecodeOptions())
    assert (found.start.dtype, found.end.dtype, found.label.dtype) == (np.int64,) * 3
    assert found.score.dtype == np.float64
    table = without_ambiguous(rows(found), case["video"])
    assert len(table) == case["rows"]
    np.testing.assert_array_equal(table[:, :3], expected[:, :3])
    np.testing.assert_allclose(table[:, 3], expected[:, 3], rtol=0, atol=1e-5)


def test_the_golden_cases_reach_what_they_are_there_for(golden):
    arrays = golden("proposals")
    cases = {case["name"]: arrays[f"{case['name']}_out"] for case in GOLDEN["cases"]}
    assert sum(len(table) == 0 for table in cases.values()) >= 3
    assert any((table[:, 3] < 0).any() for table in cases.values())
    assert any(len(np.unique(table[:, 2])) > 2 for table in cases.values())


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.6, 1.0]), min_size=1, max_size=5).map(sorted),
)
def test_runs_are_the_maximal_stretches_above_each_threshold(attention, thresholds):
    attention = np.array(attention, dtype=np.float32)
    start, end, level = attention_runs(attention, np.array(thresholds))
    expected = []
    for number, threshold in enumerate(thresholds):
        above = [float(value) > threshold for value in attention]
        if not any(above[1:]):
            continue
        for i in range(len(above)):
            if above[i] and (i == 0 or not above[i - 1]):
                stop = next((j for j in range(i, len(above)) if not above[j]), len(above))
                expected.append((i, stop, number))
    assert list(zip(start.tolist(), end.tolist(), level.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ([0.95, 0, 0], []),
        ([0.95], []),
        ([0.95, 0, 0.5], [(0, 1), (2, 3)]),
        ([0, 0.95, 0], [(1, 2)]),
        ([0.95, 0.95, 0], [(0, 2)]),
    ],
)
def test_a_threshold_with_nothing_above_it_but_snippet_0_gives_nothing(attention, expected):
    start, end, _ = attention_runs(np.array(attention, np.float32), np.array([0.4]))
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == expected


def test_attention_is_compared_with_the_threshold_as_the_number_it_is():
    at_threshold = np.array([0, 0.1, 0], dtype=np.float32)  # 0.100000001
    assert len(attention_runs(at_threshold, np.array([0.1]))[0]) == 1
    below = np.array([0, 0.7, 0], dtype=np.float32)  # 0.699999988
    assert len(attention_runs(below, np.array([0.7]))[0]) == 0
    exact = np.array([0, 0.5, 0], dtype=np.float32)
    assert len(attention_runs(exact, np.array([0.5]))[0]) == 0


@pytest.mark.parametrize(
    ("attention", "activation", "margin", "contrast"),
    [
        # 4 snippets inside, one on either side
        ([0.1, 0.1, 1, 1, 1, 1, 0.1, 0.1], [9, 1, 4, 4, 4, 8, 2, 9], 0.25, 5 - 1.5),
        # 2 inside: a quarter of their length rounds to nothing on the right, to one on the left
        ([0.1, 0.1, 1, 1, 0.1, 0.1], [9, 3, 4, 6, 7, 9], 0.25, 5 - 3),
        # clipped at both ends of the video
        ([0.1, 1, 1, 1, 1, 0.1], [3, 4, 4, 4, 4, 5], 9.0, 4 - 4),
        # nothing outside
        ([1, 1, 1, 1], [1, 2, 3, 4], 0.25, 2.5),
        ([0.1, 0.1, 1, 1, 0.1, 0.1], [9, 3, 4, 6, 7, 9], 0.0, 5),
    ],
)
def test_a_score_is_the_contrast_between_inside_and_outside(
    attention, activation, margin, contrast
):
    options = DecodeOptions(
        threshold_min=0.5, threshold_count=1, outer_margin=margin, class_score_weight=0.0
    )
    found = decode(*one_class(activation, attention), options)
    assert len(found) == 1
    assert found.score[0] == pytest.approx(contrast, abs=1e-5)


def test_the_video_level_probability_adds_its_share():
    cas, attention = curves(60)
    plain = decode(cas, attention, DecodeOptions(threshold_count=1, class_score_weight=0.0))
    weighted = decode(cas, attention, DecodeOptions(threshold_count=1, class_score_weight=3.0))
    label = plain.label[0]
    np.testing.assert_allclose(
        np.sort(weighted.score) - np.sort(plain.score),
        3 * class_probabilities(cas, attention)[label],
    )


@pytest.mark.parametrize("snippets", [1, 9, 10, 25])
def test_class_probabilities_are_the_softmax_of_the_top_tenth(snippets):
    cas, attention = curves(snippets, classes=4)
    top = np.sort((cas * attention[:, None]).astype(np.float64), axis=0)[::-1]
    weights = np.exp(top[: max(1, snippets // 10)].mean(axis=0))
    expected = weights[:4] / weights.sum()
    found = class_probabilities(cas, attention, DecodeOptions())
    assert (found.shape, found.dtype) == ((4,), np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_every_class_at_the_gate_or_above_is_localized():
    cas, attention = curves(50, classes=5)
    probabilities = class_probabilities(cas, attention)
    third = np.sort(probabilities)[-3]
    found = decode(cas, attention, DecodeOptions(class_threshold=float(third)))
    assert np.unique(found.label).tolist() == np.flatnonzero(probabilities >= third).tolist()
    assert (np.diff(found.label) >= 0).all()


def test_with_no_class_at_the_gate_the_likeliest_is_localized():
    cas, attention = curves(50, classes=5)
    found = decode(cas, attention, DecodeOptions(class_threshold=2.0))
    assert np.unique(found.label).tolist() == [class_probabilities(cas, attention).argmax()]


@given(st.integers(2, 20), st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_an_action_scores_the_same_wherever_it_lies(snippets, copies, seed):
    # large and tiny values: running sums of them round differently in every copy
    rng = np.random.default_rng(seed)
    cas = rng.standard_normal((snippets, 3)) * 10 ** rng.uniform(-8, 4, (snippets, 3))
    # around each copy a margin below all thresholds, wider than any outer region
    cas = np.pad(cas, ((snippets, snippets), (0, 0)), constant_values=1)
    attention = np.pad(rng.random(snippets), snippets, constant_values=0.05)
    options = DecodeOptions(class_threshold=0.0, class_score_weight=0.0)
    found = decode(np.tile(cas, (copies, 1)), np.tile(attention, copies), options)
    for label in (0, 1):
        copy = found.start[found.label == label] // len(cas)
        scores = [found.score[found.label == label][copy == number] for number in range(copies)]
        for others in scores[1:]:
            np.testing.assert_array_equal(others, scores[0])


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_classes_are_decoded_independently(snippets, seed):
    cas, attention = curves(snippets, classes=3, seed=seed)
    options = DecodeOptions(class_threshold=0.0, class_score_weight=0.0)
    together = rows(decode(cas, attention, options))
    for label in range(3):
        alone = rows(decode(cas[:, [label, 3]], attention, options))
        alone[:, 2] = label
        np.testing.assert_allclose(together[together[:, 2] == label], alone, rtol=1e-12)


def test_attention_may_be_a_column_and_arrays_of_any_float():
    cas, attention = curves(70)
    expected = rows(decode(cas, attention))
    np.testing.assert_array_equal(rows(decode(cas, attention[:, None])), expected)
    np.testing.assert_array_equal(rows(decode(cas.astype(np.float64), attention)), expected)
    np.testing.assert_array_equal(rows(decode(cas[:, ::-1][:, ::-1], attention)), expected)


def test_inputs_are_left_as_they_were():
    cas, attention = curves(70)
    before = cas.copy(), attention.copy()
    decode(cas, attention, GATE_OPEN)
    np.testing.assert_array_equal(cas, before[0])
    np.testing.assert_array_equal(attention, before[1])


def test_zeros_and_tiny_numbers_are_fine():
    cas = np.zeros((5, 3), np.float32)
    attention = np.full(5, 0.95, np.float32)
    np.testing.assert_allclose(decode(cas, attention).score[0], 0.2 / 3)
    tiny = np.full((5, 3), np.finfo(np.float32).smallest_subnormal)
    np.testing.assert_allclose(decode(tiny, attention).score[0], 0.2 / 3)


@pytest.mark.parametrize("function", [decode, class_probabilities])
@pytest.mark.parametrize(
    ("cas", "attention", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0), r"T >= 1 snippets.*\(0, 3\)"),
        (np.zeros((4, 1)), np.zeros(4), r"C >= 1 classes.*\(4, 1\)"),
        (np.zeros((1, 4, 3)), np.zeros(4), r"\(T, C\+1\).*\(1, 4, 3\)"),
        (np.zeros((4, 3)), np.zeros(5), r"expected attention \(4,\) or \(4, 1\).*\(5,\)"),
        (np.zeros((4, 3)), np.zeros((1, 4)), r"expected attention.*\(1, 4\)"),
        (np.full((4, 3), np.nan), np.zeros(4), "cas holds values that are not finite"),
        (np.zeros((4, 3)), np.array([0, np.inf, 0, 0]), "attention holds values"),
    ],
)
def test_unfit_arrays_are_refused(function, cas, attention, message):
    with pytest.raises(ValueError, match=message):
        function(cas, attention, DecodeOptions())


@given(st.integers(1, 300), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_long_video_is_decoded_piece_by_piece_with_the_same_result(snippets, classes, seed):
    """To the last bit, whatever the number of columns and thresholds looked at together."""
    cas, attention = curves(snippets, classes, seed)
    expected = decode(cas, attention, GATE_OPEN)
    with mock.patch.object(proposals, "BLOCK", 1):
        found = decode(cas, attention, GATE_OPEN)
    np.testing.assert_array_equal(rows(found), rows(expected))


def test_a_long_video_takes_little_more_than_the_networks_outputs():
    """These are 88 bytes a snippet."""
    rng = np.random.default_rng(0)
    attention = np.repeat(rng.random(15_000, dtype=np.float32), 10)
    attention += 0.05 * rng.random(len(attention), dtype=np.float32)
    cas = rng.standard_normal((len(attention), 21), dtype=np.float32)
    tracemalloc.start()
    try:
        found = decode(cas, attention)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) > 0.25 * len(attention)
    assert peak_bytes < 80 * len(attention)


def test_one_component_that_spans_a_long_video_needs_little_memory():
    rng = np.random.default_rng(0)
    cas = rng.standard_normal((20_000, 21), dtype=np.float32)
    attention = (0.1001 + 0.8999 * rng.random(20_000)).astype(np.float32)
    tracemalloc.start()
    try:
        found = decode(cas, attention)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.start.min(), found.end.max()) == (0, 20_000)
    assert len(found) > 30_000
    # a matrix of all pairs would take 9 GB
    assert peak_bytes < 150e6
