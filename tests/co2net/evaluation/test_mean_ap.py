import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.evaluation.mean_ap import (
    ACTIVITYNET_TIOUS,
    THUMOS14_TIOUS,
    EvaluationOptions,
    GroundTruth,
    Predictions,
    candidate_pairs,
    classification_map,
    classification_scores,
    detection_map,
    temporal_iou,
)
from studies.evaluator_speed import plain_average_precision


def truth_of(rows):
    """[video, start, end, class] -> GroundTruth."""
    table = np.asarray(rows, dtype=np.float64).reshape(-1, 4)
    return GroundTruth(table[:, 0].astype(int), table[:, 1:3], table[:, 3].astype(int))


def predictions_of(rows):
    """[video, start, end, class, score] -> Predictions."""
    table = np.asarray(rows, dtype=np.float64).reshape(-1, 5)
    return Predictions(table[:, 0].astype(int), table[:, 1:3], table[:, 3].astype(int), table[:, 4])


# few positions, scores and videos, so that ties in all of them and zero lengths are common
position = st.integers(0, 12)
segment = st.tuples(position, position).map(sorted)
videos, classes = st.integers(0, 2), st.integers(0, 2)
instances = st.lists(st.builds(lambda v, s, c: [v, *s, c], videos, segment, classes), max_size=12)
scored = st.lists(
    st.builds(
        lambda v, s, c, score: [v, *s, c, score],
        st.integers(0, 3), segment, classes, st.integers(-2, 3),
    ),
    max_size=25,
)  # fmt: skip


@pytest.mark.parametrize("case", [0, 1, 2])
def test_detection_map_is_the_published_one(golden, case):
    arrays = golden("evaluation")
    expected = arrays[f"{case}_ap"]
    result = detection_map(
        truth_of(arrays[f"{case}_gt"]),
        predictions_of(arrays[f"{case}_pred"]),
        expected.shape[1],
        tuple(arrays["tiou"].tolist()),
    )
    np.testing.assert_allclose(result.ap, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.map, np.nanmean(expected, axis=1), rtol=0, atol=1e-12)


def test_default_thresholds_are_those_of_the_golden_arrays(golden):
    assert golden("evaluation")["tiou"].tolist() == list(THUMOS14_TIOUS)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_plain_transcription_is_the_published_evaluator(golden, case):
    arrays = golden("evaluation")
    expected = arrays[f"{case}_ap"]
    ap = plain_average_precision(
        truth_of(arrays[f"{case}_gt"]),
        predictions_of(arrays[f"{case}_pred"]),
        expected.shape[1],
        arrays["tiou"].tolist(),
    )
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)


@given(instances, scored)
def test_equals_the_plain_loop(truth_rows, prediction_rows):
    truth, predictions = truth_of(truth_rows), predictions_of(prediction_rows)
    result = detection_map(truth, predictions, 3, THUMOS14_TIOUS)
    expected = plain_average_precision(truth, predictions, 3, THUMOS14_TIOUS)
    np.testing.assert_allclose(result.ap, expected, rtol=0, atol=1e-12)


@given(instances, scored, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_when_scores_differ(truth_rows, prediction_rows, random):
    for rank, row in enumerate(prediction_rows):
        row[4] = rank
    before = detection_map(truth_of(truth_rows), predictions_of(prediction_rows), 3, (0.3, 0.5))
    order = list(range(len(prediction_rows)))
    random.shuffle(order)
    shuffled = [prediction_rows[i] for i in order]
    after = detection_map(truth_of(truth_rows), predictions_of(shuffled), 3, (0.3, 0.5))
    np.testing.assert_array_equal(after.ap, before.ap)
    np.testing.assert_array_equal(after.matches, before.matches[:, order])


@given(instances, scored)
def test_matches_are_one_to_one_and_reach_the_threshold(truth_rows, prediction_rows):
    truth, predictions = truth_of(truth_rows), predictions_of(prediction_rows)
    result = detection_map(truth, predictions, 3, THUMOS14_TIOUS)
    for tiou, matches in zip(result.tious, result.matches, strict=True):
        hits = np.flatnonzero(matches >= 0)
        taken = matches[hits]
        assert len(set(taken.tolist())) == len(taken)
        assert (truth.videos[taken] == predictions.videos[hits]).all()
        assert (truth.labels[taken] == predictions.labels[hits]).all()
        ious = temporal_iou(truth.segments[taken], predictions.segments[hits])
        assert (ious >= tiou).all()
    assert (np.diff((result.matches >= 0).sum(axis=1)) <= 0).all()


def test_perfect_predictions_score_one_and_none_score_zero():
    truth = truth_of([[0, 0, 5, 0], [1, 3, 9, 1]])
    perfect = predictions_of([[0, 0, 5, 0, 0.1], [1, 3, 9, 1, 0.2]])
    assert detection_map(truth, perfect, 3, THUMOS14_TIOUS).map.tolist() == [1.0] * 9
    none = detection_map(truth, predictions_of([]), 3, THUMOS14_TIOUS)
    assert none.map.tolist() == [0.0] * 9
    assert np.isnan(none.ap[:, 2]).all()


def test_tiou_equal_to_the_threshold_matches():
    truth = truth_of([[0, 0, 10, 0]])
    prediction = predictions_of([[0, 0, 3, 0, 1.0]])
    assert detection_map(truth, prediction, 1, THUMOS14_TIOUS).map.tolist() == [1.0] * 3 + [0.0] * 6


def test_zero_length_instance_counts_and_never_matches():
    truth = truth_of([[0, 4, 4, 0], [0, 10, 20, 0]])
    predictions = predictions_of([[0, 4, 4, 0, 0.9], [0, 3, 5, 0, 0.8], [0, 10, 20, 0, 0.7]])
    result = detection_map(truth, predictions, 1, (0.1,))
    assert result.matches.tolist() == [[-1, -1, 1]]
    assert result.ap[0, 0] == pytest.approx(1 / 3 / 2)


def test_predictions_in_videos_without_ground_truth_are_false_positives():
    truth = truth_of([[0, 0, 5, 0], [1, 0, 5, 1]])
    right = [0, 0, 5, 0, 0.5]
    # video 1 has another class only, video 7 nothing at all
    for wrong in ([1, 0, 5, 0, 0.9], [7, 0, 5, 0, 0.9]):
        result = detection_map(truth, predictions_of([wrong, right]), 2, (0.5,))
        assert result.ap[0, 0] == 0.5


def test_predictions_of_a_class_without_ground_truth_change_nothing():
    truth = truth_of([[0, 0, 5, 0]])
    result = detection_map(truth, predictions_of([[0, 0, 5, 1, 0.9], [0, 0, 5, 0, 0.5]]), 2, (0.5,))
    assert result.map.tolist() == [1.0]
    assert result.instances.tolist() == [1, 0]
    assert result.predictions.tolist() == [1, 1]


def test_double_detection_is_a_false_positive():
    truth = truth_of([[0, 0, 10, 0], [0, 20, 30, 0]])
    predictions = predictions_of(
        [[0, 0, 10, 0, 0.9], [0, 0, 9, 0, 0.8], [0, 20, 30, 0, 0.7]]
    )  # fmt: skip
    result = detection_map(truth, predictions, 1, (0.5,))
    assert result.matches.tolist() == [[0, -1, 1]]
    assert result.ap[0, 0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_second_choice_is_taken_when_the_best_instance_is_gone():
    truth = truth_of([[0, 0, 10, 0], [0, 2, 12, 0]])
    predictions = predictions_of([[0, 0, 10, 0, 0.9], [0, 0, 11, 0, 0.8]])
    assert detection_map(truth, predictions, 1, (0.5,)).matches.tolist() == [[0, 1]]


def test_a_better_score_that_settles_late_still_comes_first():
    # the second prediction loses [0, 10) to the first and turns to the third's favourite
    truth = truth_of([[0, 0, 10, 0], [0, 3, 13, 0], [0, 7, 17, 0]])
    predictions = predictions_of([[0, 0, 10, 0, 0.9], [0, 1, 11, 0, 0.8], [0, 4, 14, 0, 0.7]])
    result = detection_map(truth, predictions, 1, (0.3,))
    assert result.matches.tolist() == [[0, 1, 2]]


def test_equal_scores_rank_in_the_given_order_and_equal_tious_take_the_later_instance():
    truth = truth_of([[0, 0, 10, 0], [0, 20, 30, 0]])
    wrong, right = [0, 50, 60, 0, 0.5], [0, 0, 10, 0, 0.5]
    first = detection_map(truth, predictions_of([right, wrong]), 1, (0.5,))
    second = detection_map(truth, predictions_of([wrong, right]), 1, (0.5,))
    assert (first.ap[0, 0], second.ap[0, 0]) == (0.5, 0.25)
    between = predictions_of([[0, 5, 25, 0, 0.5]])
    assert detection_map(truth, between, 1, (0.1,)).matches.tolist() == [[1]]


def test_averages_name_their_thresholds():
    truth = truth_of([[0, 0, 10, 0]])
    prediction = predictions_of([[0, 0, 5, 0, 1.0]])
    averages = detection_map(truth, prediction, 1, THUMOS14_TIOUS).averages
    assert averages == pytest.approx(
        {"0.1:0.5": 1, "0.3:0.7": 3 / 5, "0.1:0.7": 5 / 7, "all": 5 / 9}
    )
    assert detection_map(truth, prediction, 1, ACTIVITYNET_TIOUS).averages == {"all": 0.1}


def test_without_any_ground_truth_the_map_is_nan():
    result = detection_map(truth_of([]), predictions_of([[0, 0, 5, 0, 1.0]]), 2, (0.5,))
    assert np.isnan(result.map).all()


def test_pairs_of_any_class_and_of_the_same_class():
    truth = truth_of([[0, 0, 10, 0], [0, 1, 11, 1], [1, 0, 10, 0]])
    predictions = predictions_of([[0, 0, 10, 0, 1.0]])
    same = candidate_pairs(truth, predictions, 0.1)
    assert (same.instance.tolist(), same.tiou.tolist()) == ([0], [1.0])
    every = candidate_pairs(truth, predictions, 0.1, same_class=False)
    assert (every.prediction.tolist(), every.instance.tolist()) == ([0, 0], [0, 1])


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        detection_map(truth_of([]), predictions_of([[0, 0, 1, label, 0.5]]), 2, (0.5,))


@pytest.mark.parametrize(
    "options",
    [{"protocol": "thumos"}, {"tious": ()}, {"tious": (0.0,)}, {"tious": (0.5, 0.3)},
     {"tious": (0.5, 0.5)}],
)  # fmt: skip
def test_options_check_themselves(options):
    with pytest.raises(ValueError, match=r"protocol|tIoU"):
        EvaluationOptions(**options)


def test_protocols_bring_their_thresholds():
    assert EvaluationOptions() == EvaluationOptions.of("co2net")
    assert EvaluationOptions.of("activitynet").tious == ACTIVITYNET_TIOUS


def test_classification_map_is_the_published_one(golden):
    arrays = golden("evaluation")
    ap, mean = classification_map(arrays["cls_conf"], arrays["cls_labels"])
    # the published sum carries a small epsilon in its divisor
    assert 100 * mean == pytest.approx(float(arrays["cls_map"]), abs=1e-5)
    assert ap.shape == (20,)


@given(
    st.lists(
        st.tuples(st.tuples(*[st.integers(0, 4)] * 2), st.tuples(*[st.booleans()] * 2)), max_size=8
    )
)
def test_classification_map_equals_the_plain_loop(rows):
    scores = np.array([score for score, _ in rows]).reshape(-1, 2)
    labels = np.array([label for _, label in rows]).reshape(-1, 2)
    ap, mean = classification_map(scores, labels)
    expected = []
    for column in range(2):
        ranked = sorted(range(len(rows)), key=lambda row: -scores[row, column])
        found, precisions = 0, []
        for rank, row in enumerate(ranked, start=1):
            if labels[row, column]:
                found += 1
                precisions.append(found / rank)
        expected.append(sum(precisions) / found if found else np.nan)
    np.testing.assert_allclose(ap, expected)
    measured = [value for value in expected if not np.isnan(value)]
    np.testing.assert_allclose(mean, np.mean(measured) if measured else np.nan)


def test_classification_scores_are_the_softmax_of_the_top_eighth():
    cas = np.zeros((9, 3), dtype=np.float32)
    cas[3, 0], cas[7, 0] = 4.0, 2.0  # ceil(9 / 8) = 2 snippets count: mean 3
    cas[:, 2] = 1.0
    powers = np.exp([3.0, 0.0, 1.0])
    np.testing.assert_allclose(classification_scores(cas), (powers / powers.sum())[:2])
    np.testing.assert_allclose(classification_scores(cas[:1]), np.exp([0, 0]) / (2 + np.e))
