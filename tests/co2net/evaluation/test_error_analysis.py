import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.data.annotations import Video
from co2net.evaluation.error_analysis import (
    ERROR_TYPES,
    PREDICTION_TYPES,
    AnalysisOptions,
    analyze,
    prediction_types,
)
from co2net.evaluation.mean_ap import EvaluationOptions, temporal_iou
from co2net.evaluation.protocol import evaluate
from co2net_runtime.detections import Detections

CLASSES = ("a", "b")
IN_SECONDS = EvaluationOptions("activitynet", (0.5,))


def judge(truth, predictions):
    """[start, end, label] and [start, end, label, score], one video, seconds."""
    known = np.array(truth, dtype=np.float64).reshape(-1, 3)
    found = np.array(predictions, dtype=np.float64).reshape(-1, 4)
    video = Video(
        name="v",
        subset="test",
        duration_s=None,
        labels=(),
        segments=known[:, :2],
        segment_labels=known[:, 2].astype(np.int64),
        ambiguous=np.zeros((0, 2)),
    )
    results = {
        "v": Detections(found[:, :2], found[:, 3], found[:, 2].astype(np.int64), CLASSES),
    }
    return evaluate(results, [video], CLASSES, IN_SECONDS)


def types_of(evaluation, tiou=0.5):
    codes = prediction_types(
        evaluation.ground_truth, evaluation.predictions, evaluation.result.matches[0], tiou, 0.1
    )
    return [PREDICTION_TYPES[code] for code in codes]


TRUTH = [[0, 10, 0], [20, 30, 1]]


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        ([0, 9, 0], "double detection"),
        ([20, 29, 0], "wrong label"),
        ([0, 4, 0], "localization"),
        ([20, 24, 0], "confusion"),
        ([0, 0.5, 0], "background"),
        ([40, 50, 0], "background"),
        ([0, 5, 0], "double detection"),  # exactly at the threshold
        ([0, 1, 0], "localization"),  # exactly at near_tiou
    ],
)
def test_each_error_has_its_type(prediction, expected):
    evaluation = judge(TRUTH, [[0, 10, 0, 0.9], [*prediction, 0.5]])
    assert types_of(evaluation) == ["true positive", expected]


def test_the_first_type_that_applies_counts():
    # over the taken instance of its class and over another class at the threshold
    truth = [[0, 10, 0], [0, 10, 1]]
    assert types_of(judge(truth, [[0, 10, 0, 0.9], [0, 9, 0, 0.5]]))[1] == "double detection"
    # own class below the threshold, another at it
    truth = [[0, 10, 0], [4, 14, 1]]
    assert types_of(judge(truth, [[4, 14, 0, 0.5]])) == ["wrong label"]
    # both classes below the threshold
    truth = [[0, 10, 0], [0, 10, 1]]
    assert types_of(judge(truth, [[0, 3, 0, 0.5]])) == ["localization"]


segments = st.tuples(st.integers(0, 15), st.integers(1, 8), st.integers(0, 1))


@given(st.lists(segments, min_size=1, max_size=6), st.lists(segments, max_size=12))
def test_types_equal_the_plain_definition(truth_rows, rows):
    truth = [[start, start + length, label] for start, length, label in truth_rows]
    predictions = [
        [start, start + length, label, -rank] for rank, (start, length, label) in enumerate(rows)
    ]
    evaluation = judge(truth, predictions)
    expected = []
    for row, (start, end, label, _) in enumerate(predictions):
        ious = [
            (float(temporal_iou(np.array([start, end]), np.array(t[:2]))), t[2] == label)
            for t in truth
        ]
        if evaluation.result.matches[0, row] >= 0:
            expected.append("true positive")
        elif any(iou >= 0.5 and own for iou, own in ious):
            expected.append("double detection")
        elif any(iou >= 0.5 for iou, _ in ious):
            expected.append("wrong label")
        elif any(iou >= 0.1 and own for iou, own in ious):
            expected.append("localization")
        elif any(iou >= 0.1 for iou, _ in ious):
            expected.append("confusion")
        else:
            expected.append("background")
    assert types_of(evaluation) == expected


@given(st.lists(segments, min_size=1, max_size=6), st.lists(segments, max_size=12))
def test_counts_add_up_and_no_error_removed_lowers_the_map(truth_rows, rows):
    truth = [[start, start + length, label] for start, length, label in truth_rows]
    predictions = [
        [start, start + length, label, -rank] for rank, (start, length, label) in enumerate(rows)
    ]
    evaluation = judge(truth, predictions)
    (analysis,) = analyze(evaluation, AnalysisOptions())
    assert sum(each.total for each in analysis.predictions) == len(rows)
    hits = int((evaluation.result.matches[0] >= 0).sum())
    assert analysis.predictions[0].total == hits
    assert sum(each.instances for each in analysis.lengths) == len(truth)
    assert sum(each.missed for each in analysis.lengths) == len(truth) - hits
    assert all(each.top <= each.total for each in analysis.predictions)
    assert [cost.type for cost in analysis.costs] == [*ERROR_TYPES, "missed"]
    assert all(cost.gain >= -1e-12 for cost in analysis.costs)


def test_costs_are_the_map_without_the_errors():
    # class a: background first, then its instance; class b: one of two found
    truth = [[0, 10, 0], [20, 30, 1], [40, 50, 1]]
    predictions = [[60, 70, 0, 0.9], [0, 10, 0, 0.8], [20, 30, 1, 0.7]]
    (analysis,) = analyze(judge(truth, predictions), AnalysisOptions())
    costs = {cost.type: cost for cost in analysis.costs}
    assert analysis.map == pytest.approx((0.5 + 0.5) / 2)
    assert costs["background"].map_without == pytest.approx((1.0 + 0.5) / 2)
    assert costs["background"].gain == pytest.approx(0.25)
    assert costs["missed"].map_without == pytest.approx((0.5 + 1.0) / 2)
    assert costs["localization"].gain == 0


def test_top_counts_as_many_predictions_as_a_class_has_instances():
    predictions = [[60, 70, 0, 0.9], [0, 10, 0, 0.8], [20, 30, 1, 0.7], [60, 70, 1, 0.6]]
    (analysis,) = analyze(judge(TRUTH, predictions), AnalysisOptions())
    top = {each.type: each.top for each in analysis.predictions}
    assert (top["background"], top["true positive"]) == (1, 1)


def test_missed_instances_are_sorted_by_length_upper_ends_included():
    truth = [[0, 3, 0], [10, 13.5, 0], [20, 32, 0], [40, 60, 0]]
    (analysis,) = analyze(judge(truth, [[20, 32, 0, 0.9]]), AnalysisOptions())
    assert [(each.name, each.instances, each.missed) for each in analysis.lengths] == [
        ("XS", 1, 1), ("S", 1, 1), ("M", 1, 0), ("L", 0, 0), ("XL", 1, 1),
    ]  # fmt: skip
    assert (analysis.lengths[0].above_s, analysis.lengths[0].up_to_s) == (0, 3)
    assert (analysis.lengths[4].above_s, analysis.lengths[4].up_to_s) == (18, None)


def test_lengths_are_in_seconds_under_the_snippet_protocol():
    evaluation = dataclasses.replace(judge([[0, 5, 0]], []))
    snippets = evaluation.ground_truth.segments / 0.64
    evaluation = dataclasses.replace(
        evaluation, ground_truth=dataclasses.replace(evaluation.ground_truth, segments=snippets)
    )
    (analysis,) = analyze(evaluation, AnalysisOptions())
    assert [each.instances for each in analysis.lengths] == [0, 1, 0, 0, 0]


def test_options_know_the_datasets_and_check_themselves():
    assert AnalysisOptions.of("co2net").length_bounds_s == (3, 6, 12, 18)
    assert AnalysisOptions.of("activitynet", (0.75,)).length_bounds_s == (30, 60, 120, 180)
    with pytest.raises(ValueError, match="near_tiou"):
        AnalysisOptions(tious=(0.05,))
    with pytest.raises(ValueError, match="ascend"):
        AnalysisOptions(length_bounds_s=(6.0, 3.0, 12.0, 18.0))
