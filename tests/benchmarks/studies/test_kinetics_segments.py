"""Class probabilities of a clip become segments, without a trained model."""

import numpy as np
import pytest

from studies.kinetics_segments import NAMES, draw, find_segments, smoothed, softmax


def test_there_are_400_names_in_the_order_of_the_network():
    names = NAMES.read_text(encoding="utf-8").splitlines()
    assert len(set(names)) == len(names) == 400
    assert (names[0], names[399]) == ("abseiling", "zumba")


def test_shares_sum_to_one():
    shares = softmax(np.array([[1000.0, 1000.0 + np.log(3)], [0.0, 0.0]]))
    assert shares == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_a_snippet_is_averaged_with_its_neighbors():
    assert smoothed(np.array([[3.0], [0.0], [6.0]])).ravel().tolist() == [2.0, 3.0, 4.0]
    assert smoothed(np.array([[0.7]])) == pytest.approx(0.7)


def test_segments_are_runs_at_or_above_the_threshold():
    shares = np.array([[0.2, 0.0], [0.4, 0.1], [0.1, 0.0], [0.9, 0.0]])
    first, second = find_segments(shares, 0.2, 0.5, ["a", "b"])
    assert (first.label, first.start_s, first.end_s) == ("a", 0.0, 1.0)
    assert first.score == pytest.approx(0.3)
    assert (second.start_s, second.end_s, second.score) == (1.5, 2.0, pytest.approx(0.9))
    timeline = draw("clip", shares, [first, second], 0.2, 0.5, ["a", "b"])
    assert timeline.labels == ("a",)
    assert timeline.curves["a"].tolist() == shares[:, 0].tolist()
    assert timeline.duration_s == 2.0
