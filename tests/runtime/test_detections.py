import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.detections import (
    Detections,
    Segment,
    confidences,
    read_results,
    results_document,
)
from co2net_runtime.errors import InputError

CLASSES = ("Jump", "Throw")
rows = st.lists(
    st.tuples(
        st.floats(0, 1e4), st.floats(0, 1e3), st.floats(-10, 10), st.integers(0, 1)
    ),
    max_size=8,
)  # fmt: skip


def detections(table):
    array = np.array(table, dtype=np.float64).reshape(-1, 4)
    segments = np.stack([array[:, 0], array[:, 0] + array[:, 1]], axis=1)
    return Detections(segments, array[:, 2], array[:, 3].astype(np.int64), CLASSES)


@given(rows)
def test_json_keeps_every_bit(table):
    found = detections(table)
    document = json.loads(json.dumps(results_document({"v": found}, {"model": "m"})))
    again = Detections.from_records(document["results"]["v"], CLASSES, "here")
    for name in ("segments", "scores", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert document["external_data"] == {"model": "m"}


@given(rows)
def test_iterating_gives_each_segment(table):
    found = detections(table)
    assert list(found) == [
        Segment(start, start + length, score, CLASSES[label])
        for start, length, score, label in table
    ]
    assert len(found) == len(table)


@given(rows)
def test_the_operating_point_keeps_what_is_near_the_best(table):
    found = detections(table)
    kept = found.at_operating_point(0.1)
    best = max(found.scores.max(initial=0), 0)
    expected = [score for score in found.scores if score > 0 and score >= 0.1 * best]
    assert kept.scores.tolist() == expected


def test_by_score_is_stable():
    found = detections([(0, 1, 0.5, 0), (1, 1, 0.9, 1), (2, 1, 0.5, 1)])
    assert found.by_score().segments[:, 0].tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"label": "Run", "score": 1, "segment": [0, 1]}, "unknown label 'Run'"),
        ({"label": "Jump", "score": 1, "segment": [2, 1]}, r"from 2\.0 to 1\.0"),
        ({"label": "Jump", "score": "nan", "segment": [0, 1]}, "finite numbers"),
        ({"label": "Jump", "score": 1, "segment": [0, 1e308]}, "finite numbers"),
        ({"label": "Jump", "score": 1}, "expected records with"),
        ({"label": "Jump", "score": 1, "segment": [0]}, "expected records with"),
    ],
)
def test_damaged_records_are_refused(record, text):
    with pytest.raises(InputError, match=text):
        Detections.from_records([record], CLASSES, "p.json: v")


def test_numbers_may_be_strings(tmp_path):
    record = {"label": "Throw", "score": "0.5", "segment": ["1.5", "2"]}
    (tmp_path / "p.json").write_text(json.dumps({"results": {"v": [record]}}))
    (found,) = read_results(tmp_path / "p.json").values()
    assert found.classes == ("Throw",)
    assert found.segments.tolist() == [[1.5, 2.0]]


@pytest.mark.parametrize("text", ["", "[]", '{"database": {}}', '{"results": 3}'])
def test_a_file_that_holds_no_results_is_named(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(
        InputError, match=r"p\.json: expected (ActivityNet results|predictions as JSON)"
    ):
        read_results(tmp_path / "p.json")
    with pytest.raises(InputError, match="cannot read the predictions"):
        read_results(tmp_path / "missing.json")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"expected segments \(N, 2\)"):
        Detections(np.zeros((2, 2)), np.zeros(3), np.zeros(2, np.int64), CLASSES)


def test_a_video_that_is_listed_twice_is_named(tmp_path):
    for text in ('{"results": {"a": [], "a": []}}', '{"results": {"a": [], " a": []}}'):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(InputError, match="a' is there twice: which one counts cannot be told"):
            read_results(tmp_path / "p.json")


def test_names_are_compared_without_a_byte_order_mark_and_white_space(tmp_path):
    record = b'{"label": "High  Jump ", "score": 1, "segment": [0, 1]}'
    number = b'{"label": 3, "score": 1, "segment": [0, 1]}'
    (tmp_path / "p.json").write_bytes(
        b'\xef\xbb\xbf{"results": {" a": [' + record + b", " + number + b"]}}"
    )
    (found,) = read_results(tmp_path / "p.json").items()
    assert found[0] == "a"
    assert found[1].classes == ("3", "High Jump")
    (tmp_path / "p.json").write_text(
        '{"results": {"a": [{"label": null, "score": 1, "segment": [0, 1]}]}}'
    )
    with pytest.raises(InputError, match="a label is null: expected the class's name"):
        read_results(tmp_path / "p.json")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_confidence_lies_between_0_and_1_and_keeps_the_order(scores):
    found = confidences(np.sort(scores))
    assert ((found > 0) & (found < 1)).all()
    assert (np.diff(found) >= 0).all()


def test_confidence_is_the_logistic_function():
    np.testing.assert_allclose(confidences([0, 3, -1]), [0.5, 1 / (1 + np.exp(-3)), 1 / (1 + np.e)])
    assert (np.diff(confidences(np.arange(-30, 30))) > 0).all()
    (record,) = detections([(0, 1, 2.0, 0)]).to_records()
    (segment,) = detections([(0, 1, 2.0, 0)])
    assert record["confidence"] == segment.confidence == confidences(2.0)


def test_the_best_of_each_component_is_the_first_taken():
    """Components 0-9 and 12-15 of class 0, 0-9 of class 1; the order is the decoder's."""
    found = detections(
        [(2, 3, 5.0, 0), (0, 9, 4.0, 0), (12, 3, 3.0, 0), (12, 1, 2.0, 0), (6, 1, 1.0, 0),
         (0, 9, -0.5, 1), (1, 2, -0.1, 1)]
    )  # fmt: skip
    best = found.best_per_component()
    assert best.segments.tolist() == [[2, 5], [12, 15], [0, 9]]
    assert best.scores.tolist() == [5.0, 3.0, -0.5]
    assert len(detections([]).best_per_component()) == 0
