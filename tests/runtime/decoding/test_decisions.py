import numpy as np
import pytest

from co2net_runtime.decoding.decisions import Decisions, Outputs, compare_decisions
from co2net_runtime.options import DecodeOptions

OPTIONS = DecodeOptions(threshold_min=0.5, threshold_max=0.5, threshold_count=1)


def outputs(*runs, snippets=40, classes=2):
    """One video whose attention is 1 on each run (start, end, class) and 0 elsewhere."""
    cas = np.zeros((snippets, classes + 1), np.float32)
    attention = np.zeros(snippets, np.float32)
    for start, end, label in runs:
        attention[start:end] = 0.9
        cas[start:end, label] = 8
    return Outputs(cas, attention)


def compare(reference, found, options=OPTIONS):
    return compare_decisions([reference], [found], options)


def test_equal_outputs_change_nothing():
    video = outputs((3, 9, 0), (20, 30, 1))
    found = compare_decisions([video, video], [video, video], DecodeOptions())
    assert found.segments > 0
    assert found == Decisions(2, found.segments, 0, 0, 0, 0.0, 0.0, 0.0)
    assert found.changed == 0


def test_a_lost_an_added_and_a_moved_segment_are_counted():
    reference = outputs((3, 9, 0), (20, 30, 0))
    lost = compare(reference, outputs((3, 9, 0)))
    assert (lost.segments, lost.lost, lost.added, lost.moved) == (2, 1, 0, 0)
    added = compare(outputs((3, 9, 0)), reference)
    assert (added.segments, added.lost, added.added, added.moved) == (1, 0, 1, 0)
    moved = compare(reference, outputs((3, 9, 0), (20, 32, 0)))
    assert (moved.lost, moved.added, moved.moved) == (0, 0, 1)
    assert moved.changed == 0.5
    by_one = compare(reference, outputs((3, 9, 0), (20, 31, 0)))
    assert by_one.changed == 0


def test_score_shifts_are_shares_of_the_best_score():
    reference = outputs((3, 9, 0), (20, 30, 0))
    weaker = Outputs(reference.cas * np.float32(0.9), reference.attention)
    found = compare(reference, weaker)
    assert found.changed == 0
    assert found.score_shift_max == pytest.approx(0.1, abs=0.005)
    assert found.score_shift_mean == pytest.approx(0.1, abs=0.005)


def test_another_class_is_another_segment():
    found = compare(outputs((3, 9, 0)), outputs((3, 9, 1)))
    assert (found.lost, found.added) == (1, 1)


def test_faint_segments_do_not_count():
    options = DecodeOptions(threshold_min=0.5, threshold_max=0.5, threshold_count=1)
    reference = outputs((3, 9, 0), (20, 30, 0))
    faint = Outputs(reference.cas.copy(), reference.attention)
    # far less contrast than a tenth of the best
    faint.cas[20:30, 0] = 0.0
    faint.cas[20:30, 2] = -8
    assert compare(faint, faint, options).segments == 1


def test_crossed_counts_snippets_on_the_other_side_of_any_threshold():
    reference = outputs((3, 9, 0))
    found = Outputs(reference.cas, reference.attention.copy())
    found.attention[3] = 0.4
    found.attention[4] = 0.6  # same side
    assert compare(reference, found).crossed == pytest.approx(1 / 40)


def test_nested_segments_meet_themselves():
    """One segment at several thresholds has several scores: each finds its own."""
    rng = np.random.default_rng(0)
    attention = rng.random(60).astype(np.float32)
    cas = rng.standard_normal((60, 4)).astype(np.float32) * 3
    video = Outputs(cas, attention)
    found = compare(video, video, DecodeOptions())
    assert found.segments > 10
    assert found.changed == 0
    assert found.score_shift_max == 0
