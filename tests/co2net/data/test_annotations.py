"""Annotations from a bundle's folder and from JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net.data.annotations import (
    Annotations,
    Video,
    read_annotations,
    read_class_list,
    train_test_subsets,
    write_annotations,
)
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import normalized


def write_json(path, database, **extra):
    path.write_text(json.dumps({"database": database, **extra}))
    return path


def entry(*instances, subset="test", duration=20.0, **extra):
    annotations = [{"label": label, "segment": segment} for label, segment in instances]
    return {"subset": subset, "duration": duration, "annotations": annotations, **extra}


def write_bundle(folder, **replaced):
    """A bundle's annotation folder of three videos; keywords replace or (None) leave out a file."""
    arrays = {
        "videoname": np.array([b"a", b"b", b"c"]),
        "subset": np.array([b"validation", b"test", b"test"]),
        "classlist": np.array([b"Run", b"Jump"]),
        "duration": np.array([[10.0], [20.0], [30.0]]),
        "segments": [[[1.0, 2.5]], [[0.0, 1.0], [3.0, 4.0]], []],
        "labels": [["Jump"], ["Run", "Jump"], []],
        "labels_all": [["Jump"], ["Run", "Jump"], ["Run"]],
        **replaced,
    }
    folder.mkdir(exist_ok=True)
    for name, values in arrays.items():
        if values is None:
            continue
        if isinstance(values, list):
            items, values = values, np.empty(len(values), dtype=object)
            for index, item in enumerate(items):
                values[index] = item
        np.save(folder / f"{name}.npy", values, allow_pickle=True)
    return folder


def assert_equal(found, expected):
    assert found.classes == expected.classes
    assert len(found.videos) == len(expected.videos)
    for a, b in zip(found.videos, expected.videos, strict=True):
        assert (a.name, a.subset, a.duration_s, a.labels, a.fps) == (
            b.name, b.subset, b.duration_s, b.labels, b.fps,
        )  # fmt: skip
        np.testing.assert_array_equal(a.segments, b.segments)
        np.testing.assert_array_equal(a.segment_labels, b.segment_labels)
        np.testing.assert_array_equal(a.ambiguous, b.ambiguous)
        assert a.segments.dtype == a.ambiguous.dtype == np.float64
        assert a.segment_labels.dtype == np.int64
        assert a.segments.shape[1:] == a.ambiguous.shape[1:] == (2,)


def test_a_bundle_folder_is_read(tmp_path):
    folder = write_bundle(tmp_path / "Name-Annotations")
    (folder / "Ambiguous_test.txt").write_text("b  5.5  6.0\nb  7.0  8.0\nother  1.0  2.0\n")
    expected = Annotations(
        classes=("Run", "Jump"),
        videos=(
            Video("a", "validation", 10.0, (1,), np.array([[1.0, 2.5]]), np.array([1]),
                  np.empty((0, 2))),
            Video("b", "test", 20.0, (0, 1), np.array([[0.0, 1.0], [3.0, 4.0]]), np.array([0, 1]),
                  np.array([[5.5, 6.0], [7.0, 8.0]])),
            Video("c", "test", 30.0, (0,), np.empty((0, 2)), np.empty(0, dtype=np.int64),
                  np.empty((0, 2))),
        ),
    )  # fmt: skip
    assert_equal(read_annotations(folder), expected)
    assert_equal(read_annotations(tmp_path), expected)
    assert read_annotations(folder).warnings == ()
    np.testing.assert_array_equal(
        expected.label_matrix(expected.videos), np.float32([[0, 1], [1, 1], [1, 0]])
    )


def test_video_labels_come_from_the_segments_where_there_are_no_others(tmp_path):
    folder = write_bundle(tmp_path / "notes", labels_all=None)
    assert [video.labels for video in read_annotations(folder).videos] == [(1,), (0, 1), ()]


def test_what_is_odd_in_a_bundle_is_counted(tmp_path):
    folder = write_bundle(
        tmp_path / "notes",
        videoname=np.array([b"a", b"b", b"a"]),
        labels_all=[["Run"], ["Run"], ["Run"]],
        duration=np.array([10.0, 3.5, 30.0]),
    )
    annotations = read_annotations(folder)
    assert [video.name for video in annotations.videos] == ["a", "b"]
    assert annotations.videos[0].labels == (0,)
    assert annotations.warnings == (
        "1 video: listed twice, only the first entry counts (a)",
        "2 videos: video-level labels and segment labels disagree, both are kept as given (a, b)",
        "1 video: a segment ends after the annotated duration (b)",
    )


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"segments": [[[1.0]], [[0, 1], [3, 4]], []]}, r"a: expected segments as \[start, end\]"),
        ({"segments": [[], [[0, 1], [3, 4]], []]}, r"a: 0 segments but 1 labels"),
        ({"segments": [3.0, [], []]}, r"a: expected a list, found a float"),
        (
            {"labels": [["Jmp"], ["Run", "Jump"], []]},
            r"a: unknown label 'Jmp' \(did you mean 'Jump",
        ),
        ({"labels_all": [["Fly"], ["Run"], ["Run"]]}, r"a: unknown label 'Fly'"),
        ({"labels": [[3], ["Run", "Jump"], []]}, r"a: expected text, found a int"),
        ({"subset": np.array([b"test"])}, r"subset\.npy: 1 entry, .* names 3 videos"),
        ({"subset": None}, r"subset\.npy: cannot read the file"),
        ({"classlist": np.array([b"Run", b"Run"])}, r"names a class twice"),
        ({"duration": np.array([1.0, np.inf, 2.0])}, r"b: a duration of inf s"),
        ({"duration": [[1.0, 2.0], 1.0, 1.0]}, r"a: duration: expected seconds"),
    ],
)
def test_a_bad_bundle_is_refused(tmp_path, replaced, message):
    folder = write_bundle(tmp_path / "notes", **replaced)
    with pytest.raises(InputError, match=message):
        read_annotations(folder)


def test_json_numbers_may_be_text(tmp_path):
    path = write_json(
        tmp_path / "x.json",
        {
            "v1": entry(("Run", ["1.0", "2.5"]), ("Ambiguous", [4, 5]), duration="10"),
            "v2": {"subset": "testing"},
        },
    )
    annotations = read_annotations(path)
    assert annotations.classes == ("Run",)
    first, second = annotations.videos
    assert first.segments.tolist() == [[1.0, 2.5]]
    assert first.ambiguous.tolist() == [[4.0, 5.0]]
    assert first.duration_s == 10.0
    assert (second.duration_s, second.labels, len(second.segments)) == (None, (), 0)


def test_class_order_is_given_or_stated_or_sorted(tmp_path):
    database = {"v": entry(("b", [0, 1]), ("a", [1, 2]))}
    plain = write_json(tmp_path / "plain.json", database)
    stated = write_json(tmp_path / "stated.json", database, classes=["b", "a", "c"])
    assert read_annotations(plain).classes == ("a", "b")
    assert read_annotations(stated).classes == ("b", "a", "c")
    assert read_annotations(stated, ["c", "a", "b"]).classes == ("c", "a", "b")
    with pytest.raises(InputError, match="unknown label 'b'"):
        read_annotations(stated, ["a"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected annotations as JSON"),
        ('{"database": {"v": {"sub', "expected annotations as JSON"),
        ("[1]", "expected ActivityNet-style annotations"),
        ('{"results": {}}', "expected ActivityNet-style annotations"),
        ('{"database": {}}', "no videos in it"),
        ('{"database": {"v": {"subset": "test"}}}', "no classes in it"),
        ('{"database": {"v": {"annotations": []}}}', r"v: expected 'subset' and 'annotations'"),
        ('{"database": {"v": 3}}', r"v: expected 'subset' and 'annotations'"),
        (
            '{"database": {"v": {"subset": "t", "annotations": [{"label": "a"}]}}}',
            r"v: expected 'subset' and 'annotations'",
        ),
        (
            '{"database": {"v": {"subset": "t", "annotations": [{"label": "a", "segment": "x"}]}}}',
            r"v: expected segments as \[start, end\]",
        ),
        ('{"database": {"v": {"subset": null, "annotations": []}}}', "a subset that is None"),
        (
            '{"database": {"v": {"subset": "t", "labels": ["a"], "duration": 1e999}}}',
            "v: a duration of inf s",
        ),
        (
            '{"database": {"v": {"subset": "t", "labels": ["a"], "fps": 0}}}',
            "v: a frame rate of 0 fps",
        ),
        (
            '{"database": {"v": {"subset": "t", "duration": 1%s}}}' % ("0" * 400),
            "a number of 401 digits",
        ),
        (
            '{"database": {"v": {"subset": "t", "annotations": '
            '[{"label": null, "segment": [1, 2]}]}}}',
            "v: .*a label is null: expected the class's name",
        ),
        ('{"database": {"v": {"subset": "t"}}, "classes": 5}', "classes: expected a list of names"),
        ('{"database": {"v": {"subset": "t", "labels": 5}}}', "'int' object is not iterable"),
        ("[" * 100_000, "expected annotations as JSON"),
    ],
)
def test_bad_json_is_refused(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json") as error:
        read_annotations(tmp_path / "x.json")
    assert error.match(message)


def test_a_video_that_stands_twice_in_json_is_counted(tmp_path):
    first, second = (json.dumps(entry((label, [0, 1]))) for label in "ab")
    (tmp_path / "x.json").write_text(f'{{"database": {{"v": {first}, "v": {second}}}}}')
    annotations = read_annotations(tmp_path / "x.json")
    assert annotations.classes == ("a",)
    assert annotations.warnings == ("1 video: annotated twice, only the first entry counts (v)",)


def test_missing_annotations_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: cannot read the annotations"):
        read_annotations(tmp_path / "nothing.json")
    with pytest.raises(InputError, match="no annotations here"):
        read_annotations(tmp_path)
    for name in ("A", "B"):
        write_bundle(tmp_path / f"{name}-Annotations")
    with pytest.raises(InputError, match="2 annotation folders here"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("subsets", "expected"),
    [
        (["validation", "test"], ("validation", "test")),
        (["Test", "Validation"], ("Validation", "Test")),
        (["training", "validation", "testing"], ("training", "validation")),
        (["train", "val", "test"], ("train", "test")),
        (["train", "val"], ("train", "val")),
        (["fold1", "fold2"], (None, None)),
        (["Train", "fold2"], ("Train", None)),
        (["fold1", "test"], (None, "test")),
    ],
)
def test_the_subsets_follow_the_convention_they_show(tmp_path, subsets, expected):
    database = {f"v{i}": entry(("a", [0, 1]), subset=name) for i, name in enumerate(subsets)}
    annotations = read_annotations(write_json(tmp_path / "x.json", database))
    assert train_test_subsets(annotations) == expected
    assert train_test_subsets(annotations, test=subsets[0].upper())[1] == subsets[0]
    assert [video.name for video in annotations.subset(subsets[1].upper())] == ["v1"]
    with pytest.raises(InputError, match="no video is in the subset 'tset'"):
        train_test_subsets(annotations, "tset")
    with pytest.raises(InputError, match="no video is in the subset 'tset'"):
        annotations.subset("tset")


seconds = st.floats(0, 1e5, allow_nan=False)
segments = st.lists(st.tuples(seconds, seconds).map(sorted), max_size=4)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: normalized(name) == name
)


@st.composite
def annotation_sets(draw):
    classes = tuple(draw(st.lists(names.filter(lambda n: n != "Ambiguous"), min_size=1, max_size=4,
                                  unique=True)))  # fmt: skip
    label = st.integers(0, len(classes) - 1)
    videos = []
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        found = np.array(draw(segments), dtype=np.float64).reshape(-1, 2)
        video = Video(
            name=name,
            subset=draw(names),
            duration_s=draw(st.none() | seconds),
            labels=tuple(sorted(draw(st.sets(label)))),
            segments=found,
            segment_labels=np.array([draw(label) for _ in found], dtype=np.int64),
            ambiguous=np.array(draw(segments), dtype=np.float64).reshape(-1, 2),
            fps=draw(st.none() | st.floats(1, 240)),
        )
        videos.append(video)
    return Annotations(classes, tuple(videos))


@given(annotations=annotation_sets())
def test_json_keeps_everything(tmp_path_factory, annotations):
    path = tmp_path_factory.getbasetemp() / "any.json"
    write_annotations(annotations, path)
    assert_equal(read_annotations(path), annotations)


def test_a_reversed_segment_leaves_only_itself_out(tmp_path):
    path = write_json(
        tmp_path / "x.json",
        {
            "v1": entry(("Run", ["5", "4.5"]), ("Jump", [1, 2]), ("Ambiguous", [9, 8])),
            "v2": entry(("Run", [1, float("nan")]), ("Run", [3, 3])),
        },
    )
    annotations = read_annotations(path)
    first, second = annotations.videos
    np.testing.assert_array_equal(first.segments, [[1, 2]])
    assert [annotations.classes[label] for label in first.segment_labels] == ["Jump"]
    # what the video shows is still said
    assert [annotations.classes[label] for label in first.labels] == ["Jump", "Run"]
    assert first.ambiguous.shape == (0, 2)
    np.testing.assert_array_equal(second.segments, [[3, 3]])
    assert annotations.warnings == (
        "3 segments: ends before it starts or is not finite, left out "
        "(v1: 5 to 4.5 s, v1: 9 to 8 s, v2: 1 to nan s)",
    )


def test_white_space_and_unicode_form_do_not_make_classes_or_videos(tmp_path):
    path = tmp_path / "x.json"
    database = {
        "caf\u00e9 ": entry(("Jump ", [1, 2]), ("High  Jump", [1, 2])),
        "cafe\u0301": entry(("Run", [1, 2])),
        "b": entry(("\tJump", [3, 4]), ("High\u00a0Jump", [1, 2])),
    }
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"database": database}).encode())
    annotations = read_annotations(path)
    assert annotations.classes == ("High Jump", "Jump")
    assert [video.name for video in annotations.videos] == ["caf\u00e9", "b"]
    assert annotations.warnings == (
        "1 video: annotated twice, only the first entry counts (caf\u00e9)",
    )


def test_labels_that_only_case_tells_apart_or_that_are_numbers_are_named(tmp_path):
    path = write_json(
        tmp_path / "x.json",
        {"v1": entry(("Jump", [1, 2]), ("jump", [1, 2])), "v2": entry((3, [1, 2]), (4.0, [1, 2]))},
    )
    annotations = read_annotations(path)
    assert annotations.classes == ("3", "4", "Jump", "jump")
    assert annotations.warnings == (
        "1 video: labels are numbers, taken as the names of classes (v2)",
        "classes that only case tells apart are kept apart: 'Jump' and 'jump'",
    )


def test_one_file_per_subset_is_one_dataset(tmp_path):
    for subset, name in (("train", "a"), ("val", "b")):
        database = {
            name: {"duration_second": 9, "annotations": entry(("Run", [1, 2]))["annotations"]}
        }
        (tmp_path / f"anet_anno_{subset}.json").write_text(json.dumps(database))
    (tmp_path / "._anet_anno_val.json").write_bytes(b"\0Mac")
    annotations = read_annotations(tmp_path)
    assert [(v.name, v.subset, v.duration_s) for v in annotations.videos] == [
        ("a", "train", 9.0),
        ("b", "val", 9.0),
    ]
    alone = read_annotations(tmp_path / "anet_anno_val.json")
    assert [video.subset for video in alone.videos] == ["val"]
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(InputError, match=r"several JSON files .*: say with --annotations"):
        read_annotations(tmp_path)


def test_a_class_list_may_have_a_byte_order_mark(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfJump\r\n High  Jump \r\n\r\n")
    assert read_class_list(tmp_path / "classes.txt") == ("Jump", "High Jump")


def test_a_bundle_cannot_make_memory_of_nothing(tmp_path):
    folder = write_bundle(tmp_path / "notes")
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 0), }"
    (folder / "videoname.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    )
    with pytest.raises(InputError, match=r"videoname\.npy: damaged: an array of shape"):
        read_annotations(folder)
    np.save(folder / "videoname.npy", np.array([b"n" * 10_000, b"b", b"c"]))
    with pytest.raises(InputError, match="a name of 10000 characters"):
        read_annotations(folder)
