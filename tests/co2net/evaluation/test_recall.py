import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from co2net.data.annotations import Video
from co2net.evaluation.mean_ap import EvaluationOptions, temporal_iou
from co2net.evaluation.protocol import evaluate
from co2net.evaluation.recall import recall_at
from co2net_runtime.detections import Detections

CLASSES = ("a", "b")
TIOUS = (0.3, 0.7)
SPAN = st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(0, 1))


def video(name, rows):
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    ends = table[:, :2].cumsum(axis=1)
    return Video(name, "test", None, (), ends, table[:, 2].astype(np.int64), np.zeros((0, 2)))


def detections(rows):
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Detections(
        table[:, :2].cumsum(axis=1), table[:, 3] / 7, table[:, 2].astype(np.int64), CLASSES
    )


@given(
    st.lists(st.lists(SPAN, min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.lists(st.tuples(*([st.integers(0, 20)] * 1), st.integers(1, 10),
                                st.integers(0, 1), st.integers(0, 50)), max_size=6),
             min_size=3, max_size=3, unique_by=lambda rows: id(rows)),
    st.integers(1, 4),
)  # fmt: skip
def test_an_instance_is_found_by_the_best_k_of_its_video_and_class(truth, found, k):
    """The definition, written as loops."""
    # distinct scores: who comes k-th is then no matter of order
    found = [
        [(*row[:3], 100 * row[3] + number) for number, row in enumerate(rows)] for rows in found
    ]
    videos = [video(str(number), rows) for number, rows in enumerate(truth)]
    results = {one.name: detections(rows) for one, rows in zip(videos, found, strict=False)}
    evaluation = evaluate(results, videos, CLASSES, EvaluationOptions("activitynet", TIOUS))
    (measured,) = recall_at(evaluation, [k])
    for tiou, share in zip(TIOUS, measured.recall, strict=True):
        hits = []
        for one in videos:
            own = results[one.name]
            for segment, label in zip(one.segments, one.segment_labels, strict=True):
                rows = np.flatnonzero(own.labels == label)
                best = rows[np.argsort(-own.scores[rows])][:k]
                hits.append(bool((temporal_iou(own.segments[best], segment) >= tiou).any()))
        assert share == np.mean(hits)


def test_more_segments_find_more():
    truth = [video("v", [(0, 10, 0), (20, 10, 0)])]
    results = {"v": detections([(0, 9, 0, 7), (0, 10, 0, 6), (20, 10, 0, 5)])}
    evaluation = evaluate(results, truth, CLASSES, EvaluationOptions("activitynet", (0.5, 0.95)))
    one, three = recall_at(evaluation, [1, 3])
    assert (one.k, one.recall) == (1, (0.5, 0.0))
    assert (three.k, three.recall) == (3, (1.0, 1.0))
