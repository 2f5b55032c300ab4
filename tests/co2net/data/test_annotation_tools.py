"""Label Studio, ELAN and VIA: written from detections, read back as annotations."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net.data.annotations import read_annotations
from co2net.data.dataset import DatasetOptions, open_dataset
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.output.choices import ending
from co2net_runtime.output.formats import Showing, json_lines, make_format
from co2net_runtime.output.sinks import FileSink, FolderSink

CLASSES = ("Jump", "Throw <&>")
TOOLS = ("label-studio", "eaf", "via")
ORIGIN = {"model": "m.onnx", "model_sha256": "0", "options": {}}
SHOWING = Showing(CLASSES, 0.0, 25.0, "https://host/videos/{video}.mp4")


def form(tool):
    return make_format(tool, lambda: ORIGIN, SHOWING)


def write(folder, tool, found):
    """Write a file per video as co2net-infer does; return the folder."""
    sink = FolderSink(folder, tool, form(tool))
    for video, segments in found.items():
        sink.add(video, segments.to_records())
    sink.finish()
    sink.close()
    return folder


def segments_of(annotations):
    return {
        video.name: sorted(
            (annotations.classes[label], *map(float, segment))
            for segment, label in zip(video.segments, video.segment_labels, strict=True)
        )
        for video in annotations.videos
    }


def detections(rows):
    """Rows of (start in frames, length, label, score); nested ones lie behind their outer one."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    segments = np.stack([table[:, 0], table[:, 0] + table[:, 1]], axis=1) * 0.04
    return Detections(segments, table[:, 3], table[:, 2].astype(np.int64), CLASSES)


videos = st.dictionaries(
    st.sampled_from(["clip", "video_test_0000314", "a b.c", "été"]),
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(1, 300), st.integers(0, 1), st.floats(-3, 9)),
        max_size=6,
    ).map(detections),
    min_size=1,
)


@settings(max_examples=30, deadline=None)
@given(videos, st.sampled_from(TOOLS))
def test_what_is_written_is_read_back(tmp_path_factory, found, tool):
    folder = tmp_path_factory.mktemp("tool")
    write(folder, tool, found)
    for video, segments in found.items():
        best = segments.best_per_component()
        path = folder / f"{video}{ending(tool)}"
        if not len(best):
            with pytest.raises(InputError, match="no classes in it"):
                read_annotations(path)
            continue
        ours = segments_of(read_annotations(path, CLASSES))
        expected = sorted((one.label, one.start_s, one.end_s) for one in best)
        assert list(ours) == [video]
        assert [one[0] for one in ours[video]] == [one[0] for one in expected]
        np.testing.assert_allclose(
            [one[1:] for one in ours[video]], [one[1:] for one in expected], atol=1e-9
        )


@pytest.mark.parametrize("tool", ["label-studio", "via"])
def test_one_file_of_many_videos(tmp_path, tool):
    found = {"one": detections([(0, 25, 0, 1.0)]), "two": detections([]),
             "three": detections([(50, 10, 1, 2.0)])}  # fmt: skip
    path = tmp_path / f"all{ending(tool)}"
    sink = FileSink(path, form(tool), json_lines(lambda: ORIGIN), resume=False)
    for video, segments in found.items():
        sink.add(video, segments.to_records())
    sink.finish()
    sink.close()
    assert segments_of(read_annotations(path)) == {
        "one": [("Jump", 0.0, 1.0)], "two": [], "three": [("Throw <&>", 2.0, 2.4)]
    }  # fmt: skip


def test_a_folder_of_elan_files_is_a_dataset(tmp_path):
    """Corrected files in folders that name the subsets, features beside them."""
    (tmp_path / "features").mkdir()
    for subset, video in (("train", "a"), ("test", "b")):
        (tmp_path / "corrected" / subset).mkdir(parents=True)
        write(tmp_path / "corrected" / subset, "eaf", {video: detections([(0, 50, 0, 1.0)])})
        np.save(tmp_path / "features" / f"{video}.npy", np.ones((4, 8), np.float32))
    options = DatasetOptions(annotations=tmp_path / "corrected")
    dataset = open_dataset(tmp_path / "features", options)
    assert (dataset.train_subset, dataset.test_subset) == ("train", "test")
    (video,) = dataset.videos("test")
    assert video.name == "b"
    assert video.segments.tolist() == [[0, 2]]
    assert dataset.classes == ("Jump",)


def task(**more):
    region = {
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["Jump"]},
    }
    data = {"video": "/data/local-files/?d=clips/door%201.mp4", "fps": 25}
    return {"id": 7, "data": data, "annotations": [{"result": [region]}], **more}


def saved(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_label_studio_takes_what_people_approved(tmp_path):
    one = task()
    other = {"result": [], "was_cancelled": False}
    one["predictions"] = [{"result": []}]
    found = read_annotations(saved(tmp_path / "train.json", [one]))
    assert segments_of(found) == {"door 1": [("Jump", 0.0, 2.0)]}
    assert found.videos[0].subset == "train"
    assert found.warnings == ()
    one["annotations"][0]["ground_truth"] = True
    one["annotations"].append(other)
    found = read_annotations(saved(tmp_path / "train.json", [one]))
    assert segments_of(found) == {"door 1": [("Jump", 0.0, 2.0)]}
    assert found.warnings == ()


def test_label_studio_says_what_is_not_approved(tmp_path):
    one = task(annotations=[{"result": [], "was_cancelled": True}])
    one["predictions"] = task()["annotations"]
    found = read_annotations(saved(tmp_path / "x.json", [one]))
    assert (
        "nobody has annotated it, the model's predictions are taken (door 1)" in found.warnings[0]
    )
    assert found.videos[0].subset == "annotated"
    one = task()
    one["annotations"] = [{"result": []}, *one["annotations"]]
    found = read_annotations(saved(tmp_path / "x.json", [one]))
    assert "annotated several times, the last annotation is taken" in found.warnings[0]


def via(type_=1, options=None, value="Jump", z=(1.5, 3.0), **attributes):
    action = {"aname": "what", "anchor_id": "FILE1_Z2_XY0", "type": type_, "options": options or {}}
    return {
        "project": {"data_format_version": "3.1.1", "vid_list": ["1"]},
        "config": {},
        "attribute": {"1": action, **attributes},
        "file": {"4": {"fid": "4", "fname": "door.MP4", "type": 4, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["4"]}},
        "metadata": {
            "1_a": {"vid": "1", "flg": 0, "z": list(z), "xy": [], "av": {"1": value}},
            "1_b": {"vid": "1", "flg": 0, "z": [2.0], "xy": [2, 1, 1, 5, 5], "av": {}},
        },
    }


def test_via_reads_text_and_options(tmp_path):
    path = tmp_path / "test.json"
    assert segments_of(read_annotations(saved(path, via()))) == {"door": [("Jump", 1.5, 3.0)]}
    chosen = via(2, {"0": "Jump", "1": "Throw"}, "0,1")
    assert segments_of(read_annotations(saved(path, chosen))) == {
        "door": [("Jump", 1.5, 3.0), ("Throw", 1.5, 3.0)]
    }
    found = read_annotations(saved(path, via(value="")), ["Jump"])
    assert "without a class, left out" in found.warnings[0]


ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
  <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1250"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"{last}/>
 </TIME_ORDER>
 <TIER LINGUISTIC_TYPE_REF="t" TIER_ID="Throw">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>Jump</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
   <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
 </TIER>
 <TIER LINGUISTIC_TYPE_REF="t" TIER_ID="note" PARENT_REF="Throw">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
   <ANNOTATION_VALUE>blurred</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
 <LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="t" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


def test_elan_takes_a_tiers_name_for_an_empty_value(tmp_path):
    path = saved(tmp_path / "clip.eaf", ELAN.format(last=' TIME_VALUE="2000"'))
    assert segments_of(read_annotations(path)) == {
        "clip": [("Jump", 0.0, 1.25), ("Throw", 1.25, 2.0)]
    }


SECOND = {"aname": "mood", "anchor_id": "FILE1_Z2_XY0", "type": 1, "options": {}}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.eaf", "not XML", "expected an ELAN file (.eaf), XML"),
        ("x.eaf", "<html/>", "found XML of <html>"),
        ("x.eaf", "<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "without a document type"),
        ("x.eaf", ELAN.format(last=""), "annotation a2: expected both its times"),
        ("x.json", [{"video": "a.mp4"}], "export as JSON, in full"),
        ("x.json", [task(data={"video": "a.mp4"})], "a: expected data.fps"),
        ("x.json", [task(annotations=[{"result": [{}]}])], "expected an export of Label Studio"),
        ("x.json", {**via(), "file": {}}, "expected a project of VIA 3"),
        ("x.json", via(**{"2": SECOND}), "several attributes of segments (what, mood)"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, content, text):
    with pytest.raises(InputError) as raised:
        read_annotations(saved(tmp_path / name, content))
    assert text in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_elan_files_have_no_overlaps_in_a_tier(tmp_path):
    """ELAN refuses them: nested segments of a class leave the best."""
    rows = [(5, 10, 0, 5.0), (0, 50, 0, 4.0), (60, 20, 0, 3.0), (0, 50, 1, 1.0)]
    folder = write(tmp_path, "eaf", {"clip": detections(rows)})
    text = Path(folder / "clip.eaf").read_text(encoding="utf-8")
    assert text.count("<ALIGNABLE_ANNOTATION") == 3
    assert 'MEDIA_URL="https://host/videos/clip.mp4"' in text
    assert text.count("<TIER ") == 2
