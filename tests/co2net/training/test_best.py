import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.training.best import (
    Score,
    headline_average,
    selection_score,
    undecided_note,
    update_best,
)
from co2net.training.validation import LabelScores
from co2net_runtime.errors import InputError


def best_of(scores):
    best = None
    for iteration, score in enumerate(scores):
        best = update_best(best, iteration, score)
    return best


@given(st.lists(st.floats(0, 1), min_size=1))
def test_without_tolerance_the_first_highest_value_is_best(values):
    best = best_of([Score(value) for value in values])
    assert best.iteration == values.index(max(values))
    assert best.stale == len(values) - 1 - best.iteration


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 9)), min_size=1))
def test_the_best_ties_with_the_highest_value_ever_seen(pairs):
    for count in range(1, len(pairs) + 1):
        scores = [Score(value, -loss, 0.1) for value, loss in pairs[:count]]
        best = best_of(scores)
        top = max(score.value for score in scores)
        assert best.top == top
        assert best.value >= top - 0.1


def test_ties_go_to_the_lower_loss_and_do_not_drift_down():
    pairs = [(0.90, 3.0), (0.86, 2.5), (0.82, 2.0), (0.78, 1.5)]
    assert best_of([Score(value, -loss, 0.05) for value, loss in pairs]).iteration == 1
    rising = [(0.5, 1.0), (0.9, 3.0), (0.88, 2.0), (0.6, 0.1)]
    assert best_of([Score(value, -loss, 0.05) for value, loss in rising]).iteration == 2


def test_one_held_out_video_is_a_tie():
    scores = [
        selection_score("best-on-holdout", None, LabelScores(value, loss, 20))
        for value, loss in [(0.975, 2.8), (0.9625, 2.6), (0.90, 2.0)]
    ]
    assert best_of(scores).iteration == 1


@pytest.mark.parametrize(("value", "loss"), [(0.5, math.nan), (math.nan, 1.0), (0.5, math.inf)])
def test_nan_never_chooses(value, loss):
    with pytest.raises(InputError, match="cannot choose a checkpoint"):
        selection_score("best-on-holdout", None, LabelScores(value, loss, 20))


def test_a_hold_out_that_ties_throughout_is_said():
    def records(*maps):
        found = [{"holdout": {"classification_map": each, "videos": 10}} for each in maps]
        return [{"iteration": 1}, *found]

    assert "could not choose between 2 evaluations (100.00 to 100.00 on 10 videos)" in (
        undecided_note(records(1.0, 1.0)) or ""
    )
    assert undecided_note(records(1.0)) is None
    assert undecided_note(records(0.5, 1.0)) is None


@pytest.mark.parametrize(
    ("averages", "name"),
    [({"0.1:0.5": 0.5, "0.1:0.7": 0.4, "all": 0.3}, "0.1:0.7"), ({"all": 0.3}, "all")],
)
def test_headline_is_what_papers_quote(averages, name):
    assert headline_average(averages) == (name, averages[name])


def test_order_of_equal_scores_does_not_matter_for_the_value():
    scores = [Score(0.5, -1.0), Score(0.5, -2.0), Score(0.4, 0.0)]
    assert {best_of(order).value for order in itertools.permutations(scores)} == {0.5}
