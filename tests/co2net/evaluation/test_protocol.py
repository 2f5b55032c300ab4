import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.data.annotations import Video
from co2net.evaluation.mean_ap import EvaluationOptions
from co2net.evaluation.protocol import evaluate, ground_truth, overlaps_ambiguous, segments_in_unit
from co2net_runtime.decoding.proposals import decode
from co2net_runtime.detections import Detections, read_results, results_document
from co2net_runtime.errors import InputError
from co2net_runtime.options import DecodeOptions, SnippetTiming

TIMING = SnippetTiming()


def video(name, segments=(), labels=(), ambiguous=()):
    return Video(
        name=name,
        subset="test",
        duration_s=None,
        labels=tuple(sorted(set(labels))),
        segments=np.array(segments, dtype=np.float64).reshape(-1, 2),
        segment_labels=np.array(labels, dtype=np.int64),
        ambiguous=np.array(ambiguous, dtype=np.float64).reshape(-1, 2),
    )


def detections(rows, classes=("a", "b")):
    """[start, end, label, score] in seconds -> Detections."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Detections(table[:, :2], table[:, 3], table[:, 2].astype(np.int64), classes)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_golden_map_through_a_predictions_file_in_seconds(golden, tmp_path, case):
    arrays = golden("evaluation")
    truth, predicted = arrays[f"{case}_gt"], arrays[f"{case}_pred"]
    expected = arrays[f"{case}_ap"]
    classes = tuple(f"class {label}" for label in range(expected.shape[1]))
    annotated = [
        video(
            f"v{number:.0f}",
            TIMING.to_seconds(truth[truth[:, 0] == number, 1:3]),
            truth[truth[:, 0] == number, 3].astype(int),
        )
        for number in np.unique(truth[:, 0])
    ]
    results = {}
    for number in np.unique(predicted[:, 0]):
        rows = predicted[predicted[:, 0] == number]
        results[f"v{number:.0f}"] = Detections(
            TIMING.to_seconds(rows[:, 1:3]), rows[:, 4], rows[:, 3].astype(np.int64), classes
        )
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(results_document(results, {})))

    # read without a class list: the labels come in another order and are mapped by name
    judged = evaluate(read_results(path), annotated, classes)

    np.testing.assert_allclose(judged.result.ap, expected, rtol=0, atol=1e-12)
    assert len(judged.unknown) == 1  # each golden case has one video without ground truth


@pytest.mark.parametrize("case", ["ambiguous0", "ambiguous1", "ambiguous2"])
def test_ambiguous_intervals_drop_the_published_segments(golden, case):
    arrays = golden("proposals")
    notes = json.loads((Path(__file__).parents[2] / "golden/proposals.json").read_text())
    name = next(entry["video"] for entry in notes["cases"] if entry["name"] == case)
    intervals = [[float(row[2]), float(row[3])] for row in notes["ambiguous"] if row[0] == name]
    found = decode(arrays[f"{case}_cas"], arrays[f"{case}_attn"], DecodeOptions())
    segments = TIMING.to_seconds(np.stack([found.start, found.end], axis=1))

    snippets = segments_in_unit(segments, "co2net", TIMING)
    keep = ~overlaps_ambiguous(snippets, np.array(intervals), "co2net", TIMING)

    assert not keep.all()
    expected = arrays[f"{case}_out"]
    np.testing.assert_array_equal(snippets[keep], expected[:, :2])
    np.testing.assert_array_equal(found.label[keep], expected[:, 2])
    np.testing.assert_allclose(found.score[keep], expected[:, 3], rtol=0, atol=1e-5)


@given(st.integers(0, 100_000), st.sampled_from([(16, 25.0), (4, 30.0), (16, 29.97), (8, 1e3 / 7)]))
def test_snippets_survive_the_way_through_seconds(snippet, timing):
    timing = SnippetTiming(*timing)
    seconds = timing.to_seconds([[snippet, snippet + 1]])
    assert segments_in_unit(seconds, "co2net", timing).tolist() == [[snippet, snippet + 1]]


def test_positions_between_snippets_stay_fractional():
    seconds = TIMING.to_seconds([[1.5, 2 + 1e-5], [3 - 1e-8, 4.0]])
    np.testing.assert_allclose(
        segments_in_unit(seconds, "co2net", TIMING), [[1.5, 2.00001], [3, 4]], rtol=1e-12
    )
    assert segments_in_unit(seconds, "co2net", TIMING)[1, 0] == 3
    np.testing.assert_array_equal(segments_in_unit(seconds, "activitynet", TIMING), seconds)


def test_ground_truth_rounds_halves_to_even_under_the_snippet_protocol():
    # 1.6 s is 2.5 snippets, 2.24 s is 3.5; 0.1 s to 0.2 s rounds to nothing
    videos = [video("a", [[1.6, 2.24]], [1]), video("b"), video("c", [[0.1, 0.2]], [0])]
    truth = ground_truth(videos, "co2net", TIMING)
    assert truth.segments.tolist() == [[2, 4], [0, 0]]
    assert truth.videos.tolist() == [0, 2]
    assert truth.labels.tolist() == [1, 0]
    exact = ground_truth(videos, "activitynet", TIMING)
    assert exact.segments.tolist() == [[1.6, 2.24], [0.1, 0.2]]


def test_timing_decides_the_snippets():
    # 0.8 s to 1.6 s: 3 to 6 snippets of 8 frames at 30 fps, 1 to 2 of the default
    videos = [video("a", [[0.8, 1.6]], [0])]
    found = {"a": detections([[0.8, 1.6, 0, 1.0]])}
    fine = evaluate(found, videos, ("a", "b"), timing=SnippetTiming(8, 30.0))
    assert fine.ground_truth.segments.tolist() == [[3, 6]]
    assert fine.predictions.segments.tolist() == [[3, 6]]
    assert evaluate(found, videos, ("a", "b")).ground_truth.segments.tolist() == [[1, 2]]


def test_only_what_shares_time_with_an_ambiguous_interval_is_dropped():
    # under co2net [0.6, 1.3] s becomes snippets [1, 2)
    intervals = np.array([[0.6, 1.3]])
    snippets = np.array([[0, 1], [2, 3], [1, 2], [0, 9], [1.9, 2.5], [1.5, 1.9]])
    dropped = overlaps_ambiguous(snippets, intervals, "co2net", TIMING)
    # 1.9 is truncated to 1; [1.5, 1.9) is truncated to nothing
    assert dropped.tolist() == [False, False, True, True, True, False]
    seconds = np.array([[0.0, 0.6], [1.3, 2.0], [1.2, 2.0]])
    dropped = overlaps_ambiguous(seconds, intervals, "activitynet", TIMING)
    assert dropped.tolist() == [False, False, True]


def test_ambiguous_intervals_count_only_in_their_video_and_for_every_class():
    videos = [
        video("x", [[10, 20]], [0], ambiguous=[[0, 5]]),
        video("y", [[0, 5]], [0]),
    ]
    rows = [[0, 5, 0, 0.9], [0, 5, 1, 0.8], [10, 20, 0, 0.7]]
    judged = evaluate({"x": detections(rows), "y": detections(rows[:1])}, videos, ("a", "b"))
    assert judged.ambiguous == 2
    assert judged.result.ap[4, 0] == 1.0


def test_labels_are_mapped_by_name():
    videos = [video("x", [[0, 5], [10, 20]], [0, 1])]
    found = {"x": detections([[0, 5, 1, 0.9], [10, 20, 0, 0.8]], classes=("b", "a"))}
    assert evaluate(found, videos, ("a", "b")).result.map.tolist() == [1.0] * 9


def test_unknown_labels_are_named():
    found = {"x": detections([[0, 5, 0, 0.9], [0, 5, 1, 0.9]], classes=("divng", "a"))}
    with pytest.raises(InputError, match=r"'divng' \(did you mean 'diving'\?\)"):
        evaluate(found, [video("x")], ("diving", "a"))


def test_a_class_that_is_never_predicted_need_not_be_known():
    found = {"x": detections([[0, 5, 0, 0.9]], classes=("a", "rest"))}
    assert evaluate(found, [video("x", [[0, 5]], [0])], ("a", "b")).result.map[0] == 1.0


def test_unknown_and_missing_videos_are_named_and_unknown_ones_are_false_positives():
    videos = [video("x", [[0, 5]], [0]), video("y", [[0, 5]], [0])]
    found = {"z": detections([[0, 5, 0, 0.9]]), "y": detections([[0, 5, 0, 0.5]])}
    judged = evaluate(found, videos, ("a", "b"))
    assert (judged.unknown, judged.without_predictions) == (("z",), ("x",))
    assert judged.videos == ("x", "y", "z")
    assert judged.result.ap[0, 0] == pytest.approx(0.5 * 0.5)


def test_protocols_differ_as_described():
    # 0.3 s off is half a snippet: the snippet protocol forgives it
    videos = [video("x", [[0.3, 1.6]], [0])]
    found = {"x": detections([[0.0, 1.28, 0, 0.9]])}
    options = [EvaluationOptions("co2net", (0.9,)), EvaluationOptions("activitynet", (0.9,))]
    maps = [evaluate(found, videos, ("a", "b"), option).result.map[0] for option in options]
    assert maps == [1.0, 0.0]


def test_without_predictions_the_map_is_zero():
    judged = evaluate({}, [video("x", [[0, 5]], [0])], ("a", "b"))
    assert judged.result.map.tolist() == [0.0] * 9


@pytest.mark.parametrize("protocol", ["co2net", "activitynet"])
def test_perfect_snippets_score_100_whatever_the_video_s_frame_rate(protocol):
    """Detections are timed at the dataset's 25 fps, annotations at each video's own rate."""
    videos, results = [], {}
    for name, fps in (("x", 23.976), ("y", None), ("z", 30.0)):
        snippets = np.array([[180.0, 184.0], [7.0, 30.0]])
        own = SnippetTiming(16, fps or 25.0)
        truth = own.to_seconds(snippets)
        videos.append(replace(video(name, truth, [0, 1], [(1.0, 2.0)]), fps=fps))
        results[name] = detections(
            [[*TIMING.to_seconds(snippets[0]), 0, 1], [*TIMING.to_seconds(snippets[1]), 1, 1]]
        )
    found = evaluate(results, videos, ("a", "b"), EvaluationOptions.of(protocol), TIMING)
    np.testing.assert_allclose(found.result.map, 1)
    np.testing.assert_allclose(found.prediction_s, found.instance_s)


def test_an_offset_shifts_the_snippets():
    shifted = SnippetTiming(16, 25.0, 8)
    np.testing.assert_allclose(shifted.to_seconds([0, 2]), [0.32, 1.6])
    np.testing.assert_allclose(shifted.to_snippets([0.32, 1.6]), [0, 2])
    assert shifted.snippet_s == 0.64
    with pytest.raises(ValueError, match="offset_frames must not be negative"):
        SnippetTiming(offset_frames=-1)


def test_labels_differ_neither_in_white_space_nor_in_unicode_form():
    truth = [video("x", [[0, 1]], [0])]
    found = {"x": detections([[0, 1, 0, 1]], classes=("cafe\u0301 ", "b"))}
    assert evaluate(found, truth, ("caf\u00e9", "b")).result.map[0] == 1
