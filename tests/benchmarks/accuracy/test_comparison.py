import numpy as np

from co2net.data.annotations import Video
from co2net.evaluation.protocol import evaluate
from co2net_benchmarks.accuracy.comparison import Segment, compare, segment_changes
from co2net_benchmarks.accuracy.judge import Accuracy
from co2net_runtime.detections import Detections

CLASSES = ("a", "b")


def detections(*rows, classes=CLASSES):
    """(start, end, label, score) in seconds."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Detections(table[:, :2], table[:, 3], table[:, 2].astype(np.int64), classes)


def test_the_same_predictions_change_nothing():
    found = {"v": detections((0, 10, 0, 0.9), (0, 10, 0, 0.8), (0, 10, 1, 0.7))}
    changes = segment_changes(found, found, CLASSES)
    assert (changes.kept, changes.lost, changes.gained) == (3, (), ())


def test_segments_match_one_to_one_within_video_and_class():
    old = {"v": detections((0, 10, 0, 0.9)), "w": detections((0, 10, 0, 0.9))}
    new = {"v": detections((0, 9, 0, 0.9), (0, 10, 0, 0.8), (0, 10, 1, 0.9))}
    changes = segment_changes(new, old, CLASSES)
    assert changes.kept == 1
    assert changes.lost == (Segment("w", "a", 0, 10, 0.9),)
    # the better score takes the partner, though the other one is nearer
    assert changes.gained == (Segment("v", "a", 0, 10, 0.8), Segment("v", "b", 0, 10, 0.9))


def test_only_segments_above_the_operating_point_count():
    old = {"v": detections((0, 10, 0, 1.0), (50, 60, 0, 0.11), (70, 80, 0, 0.09))}
    new = {"v": detections((0, 10, 0, 1.0), (50, 60, 0, 0.09), (90, 95, 0, -1.0))}
    changes = segment_changes(new, old, CLASSES)
    assert (changes.kept, len(changes.lost), len(changes.gained)) == (1, 1, 0)
    assert changes.lost[0].start_s == 50


def test_labels_are_compared_by_name():
    old = {"v": detections((0, 10, 0, 0.9))}
    new = {"v": detections((0, 10, 1, 0.9), classes=("b", "a"))}
    assert segment_changes(new, old, CLASSES).kept == 1


def test_comparison_gives_differences_and_instances():
    video = Video(
        name="v",
        subset="test",
        duration_s=None,
        labels=(0,),
        segments=np.array([[0.0, 16.0], [32.0, 48.0]]),
        segment_labels=np.array([0, 0]),
        ambiguous=np.zeros((0, 2)),
    )
    old = {"v": detections((0, 16, 0, 0.9))}
    new = {"v": detections((32, 48, 0, 0.9), (0, 16, 0, 0.8), (60, 70, 1, 0.9))}
    judged = [
        Accuracy(name, results, evaluate(results, [video], CLASSES))
        for name, results in (("new.json", new), ("old.json", old))
    ]
    change = compare(judged[0], judged[1], CLASSES)
    assert change.baseline == "old.json"
    assert change.map == (0.5,) * 9
    assert set(change.averages.values()) == {0.5}
    # class b has no instances: no AP, no difference
    assert [(each.name, each.ap) for each in change.classes] == [("a", (0.5,) * 9)]
    assert change.instances_gained == (Segment("v", "a", 32, 48),)
    assert change.instances_lost == ()
    back = compare(judged[1], judged[0], CLASSES)
    assert back.map == (-0.5,) * 9
    assert back.instances_lost == change.instances_gained
    assert back.segments.lost == change.segments.gained
