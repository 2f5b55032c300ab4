"""Datasets in every layout users have, and what is refused in them."""

import json

import numpy as np
import pytest

from co2net.data.dataset import DatasetOptions, open_dataset
from co2net_runtime.errors import InputError
from co2net_runtime.options import SnippetTiming


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, golden_inputs):
    """The toy bundle of the golden arrays, 60 + 12 videos."""
    folder = tmp_path_factory.mktemp("bundle")
    golden_inputs.write_toy_bundle(str(folder))
    return folder


def rows(length, width, value=1.0):
    return np.full((length, width), value, dtype=np.float32)


def write_json(path, lengths, **extra):
    """Annotations of videos of the given lengths at 0.64 s a snippet, the first half to train."""
    database = {
        name: {
            "subset": "Validation" if index < len(lengths) / 2 else "Test",
            "duration": length * 0.64,
            "annotations": [{"label": "a", "segment": [0, 1]}],
        }
        for index, (name, length) in enumerate(lengths.items())
    }
    path.write_text(json.dumps({"database": database, **extra}))


@pytest.fixture
def folder(tmp_path):
    """Four videos v0 to v3 of 10 to 13 snippets, 6 channels, both streams in one file."""
    lengths = {f"v{i}": 10 + i for i in range(4)}
    write_json(tmp_path / "annotations.json", lengths)
    (tmp_path / "features").mkdir()
    for index, (name, length) in enumerate(lengths.items()):
        np.save(tmp_path / "features" / f"{name}.npy", rows(length, 6, index))
    return tmp_path


def test_the_published_bundle_is_read(bundle):
    dataset = open_dataset(bundle)
    assert (dataset.rgb_dim, dataset.flow_dim) == (1024, 1024)
    assert (dataset.train_subset, dataset.test_subset) == ("validation", "test")
    assert dataset.timing == SnippetTiming(16, 25.0)
    assert dataset.warnings == ()
    assert len(dataset.videos("validation")) == 60
    published = np.load(next(bundle.glob("*.npy")), allow_pickle=True)
    videos = dataset.annotations.videos
    for video, expected in zip(videos, published, strict=True):
        np.testing.assert_array_equal(dataset.features(video.name), expected)
        assert dataset.length(video.name) == len(expected)
    assert dataset.load_features(videos[0].name).dtype == np.float32
    assert "60 in 'validation' to train on" in dataset.describe()
    by_file = open_dataset(next(bundle.glob("*.npy")))
    assert len(by_file.annotations.videos) == 72


def test_a_bundle_of_features_alone_says_what_is_missing(tmp_path):
    np.save(tmp_path / "Name-I3D-JOINTFeatures.npy", rows(3, 6))
    with pytest.raises(InputError, match=r"Name-Annotations: no such folder"):
        open_dataset(tmp_path)
    np.save(tmp_path / "Other-I3D-JOINTFeatures.npy", rows(3, 6))
    with pytest.raises(InputError, match=r"holds 2 bundles: name one of Name-I3D"):
        open_dataset(tmp_path)


def test_a_bundle_of_another_length_is_refused(bundle, tmp_path):
    name = "Thumos14reduced"
    (tmp_path / f"{name}-Annotations").symlink_to(bundle / f"{name}-Annotations")
    np.save(tmp_path / f"{name}-I3D-JOINTFeatures.npy", rows(3, 6))
    with pytest.raises(InputError, match=r"shape \(3, 6\), expected one entry for each of the 72"):
        open_dataset(tmp_path)


def test_a_folder_is_read_memory_mapped(folder):
    dataset = open_dataset(folder)
    assert (dataset.rgb_dim, dataset.flow_dim) == (3, 3)
    assert (dataset.train_subset, dataset.test_subset) == ("Validation", "Test")
    assert [video.name for video in dataset.videos("validation")] == ["v0", "v1"]
    features = dataset.features("v2")
    assert isinstance(features, np.memmap)
    np.testing.assert_array_equal(features, rows(12, 6, 2))
    assert [dataset.length(f"v{i}") for i in range(4)] == [10, 11, 12, 13]
    assert dataset.warnings == ()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_kept_and_cast_when_loaded(folder, dtype):
    np.save(folder / "features" / "v0.npy", rows(10, 6).astype(dtype))
    dataset = open_dataset(folder)
    assert dataset.features("v0").dtype == dtype
    assert dataset.load_features("v0").dtype == np.float32


def test_options_say_what_the_dataset_does_not(folder):
    (folder / "classes.txt").write_text("b\na\n")
    options = DatasetOptions(
        classes=folder / "classes.txt", snippet_frames=4, fps=6.25, rgb_dim=2,
        train_subset="test", test_subset="VALIDATION",
    )  # fmt: skip
    dataset = open_dataset(folder, options)
    assert dataset.classes == ("b", "a")
    assert dataset.timing == SnippetTiming(4, 6.25)
    assert (dataset.rgb_dim, dataset.flow_dim) == (2, 4)
    assert (dataset.train_subset, dataset.test_subset) == ("Test", "Validation")
    with pytest.raises(InputError, match="--rgb-dim 6: the features have 6 channels in all"):
        open_dataset(folder, DatasetOptions(rgb_dim=6))


def test_a_dataset_states_its_own_timing_and_streams(folder):
    document = json.loads((folder / "annotations.json").read_text())
    document["timing"] = {"snippet_frames": 8, "fps": 12.5}
    document["streams"] = {"rgb_dim": 1, "flow_dim": 5}
    (folder / "annotations.json").write_text(json.dumps(document))
    dataset = open_dataset(folder)
    assert dataset.timing == SnippetTiming(8, 12.5)
    assert (dataset.rgb_dim, dataset.flow_dim) == (1, 5)
    assert open_dataset(folder, DatasetOptions(snippet_frames=16, fps=25)).timing.fps == 25
    document["timing"] = {"snippet_frames": 0, "fps": 12.5}
    (folder / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"annotations\.json: timing: snippet_frames must be"):
        open_dataset(folder)


@pytest.mark.parametrize("places", [("{}",), ("train/{}", "test/{}"), ("{}", "{}/more")])
def test_streams_in_two_folders_are_joined(tmp_path, places):
    lengths = {"v0": 10, "v1": 11}
    write_json(tmp_path / "gt.json", lengths)
    for index, (name, length) in enumerate(lengths.items()):
        for stream, width in (("rgb", 2), ("flow", 3)):
            place = tmp_path / "features" / places[index % len(places)].format(stream)
            if place.name == "more":
                place = place.parents[1] / "more" / stream
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{name}.npy", rows(length, width, width))
    dataset = open_dataset(tmp_path)
    assert (dataset.rgb_dim, dataset.flow_dim) == (2, 3)
    expected = np.concatenate([rows(11, 2, 2), rows(11, 3, 3)], axis=1)
    np.testing.assert_array_equal(dataset.features("v1"), expected)


def write_streams(folder, rgb_length, flow_length):
    write_json(folder / "gt.json", {"v0": 10, "v1": 10})
    for stream, length in (("RGB", rgb_length), ("flows", flow_length)):
        (folder / stream).mkdir()
        np.save(folder / stream / "v0.npy", rows(length, 2))
        np.save(folder / stream / "v1.npy", rows(10, 2))
    return DatasetOptions(rgb=folder / "RGB", flow=folder / "flows")


@pytest.mark.parametrize("lengths", [(10, 8), (9, 10)])
def test_streams_that_differ_a_little_are_cut(tmp_path, lengths):
    options = write_streams(tmp_path, *lengths)
    dataset = open_dataset(tmp_path, options)
    assert dataset.length("v0") == len(dataset.features("v0")) == min(lengths)
    assert dataset.warnings == (
        "1 video: RGB and flow differ by up to 2 snippets, the longer is cut (v0)",
    )


def test_streams_that_differ_more_are_refused(tmp_path):
    options = write_streams(tmp_path, 10, 7)
    with pytest.raises(InputError, match=r"v0\.npy with .*: 10 snippets of RGB but 7 of flow"):
        open_dataset(tmp_path, options)


def test_one_stream_alone_is_refused(tmp_path):
    options = write_streams(tmp_path, 10, 10)
    with pytest.raises(InputError, match="give both --rgb and --flow"):
        open_dataset(tmp_path, DatasetOptions(rgb=options.rgb))
    with pytest.raises(InputError, match="a folder of rgb features but none of flow"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_dataset(tmp_path, DatasetOptions(rgb=options.rgb, flow=tmp_path / "nowhere"))


def test_activitynets_prefix_is_understood(folder):
    (folder / "features" / "v0.npy").rename(folder / "features" / "v_v0.npy")
    assert open_dataset(folder).length("v0") == 10


def test_annotations_alone_open_without_features(folder):
    dataset = open_dataset(folder / "annotations.json", features=False)
    assert len(dataset.videos("test")) == 2
    assert dataset.test_subset == "Test"
    with pytest.raises(InputError, match="opened without features"):
        dataset.features("v0")


def test_videos_without_features_are_counted_and_left_out(folder):
    (folder / "features" / "v1.npy").unlink()
    dataset = open_dataset(folder)
    assert dataset.warnings == ("1 video: annotated but without features, left out (v1)",)
    assert [video.name for video in dataset.videos("validation")] == ["v0"]
    (folder / "features" / "v0.npy").unlink()
    with pytest.raises(InputError, match="no video of the subset 'Validation' has features"):
        open_dataset(folder).videos("Validation")


def test_features_that_do_not_fit_the_duration_are_counted(folder):
    np.save(folder / "features" / "v0.npy", rows(2, 6))
    np.save(folder / "features" / "v3.npy", rows(20, 6))
    assert open_dataset(folder).warnings == (
        "1 video: the features are far shorter than the annotated duration (v0)",
        "1 video: the features are far longer than the annotated duration (v3)",
    )


def test_a_wrong_timing_is_noticed(folder):
    (warning,) = open_dataset(folder, DatasetOptions(snippet_frames=4, fps=30)).warnings
    assert warning.startswith(
        "the features of 4 of 4 videos cover 0.21 times the annotated duration: is a snippet "
        "every 4 frames at 30 fps right?"
    )


def damage(name, content):
    def write(folder):
        path = folder / "features" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)

    return write


def truncate(folder):
    path = folder / "features" / "v1.npy"
    path.write_bytes(path.read_bytes()[:-4])


BAD_FEATURES = {
    "empty": (damage("v1.npy", b""), r"v1\.npy: the file is empty"),
    "truncated": (truncate, r"v1\.npy: damaged or truncated"),
    "no array": (damage("v1.npy", b"text"), r"v1\.npy: damaged: not a .npy array"),
    "width": (damage("v1.npy", rows(11, 5)), r"v1\.npy: 5 channels a snippet, expected 3 \+ 3"),
    "T = 0": (damage("v1.npy", rows(0, 6)), r"v1\.npy: no snippets \(T = 0\)"),
    "integers": (damage("v1.npy", np.ones((11, 6), int)), r"v1\.npy: expected floating-point"),
    "objects": (damage("v1.npy", np.array([None])), r"v1\.npy: an object array"),
    "dimensions": (damage("v1.npy", np.ones((11, 3, 2))), r"v1\.npy: expected an array \(T, D\)"),
}


@pytest.mark.parametrize("case", BAD_FEATURES)
def test_bad_features_are_refused_on_opening(folder, case):
    write, message = BAD_FEATURES[case]
    write(folder)
    with pytest.raises(InputError, match=message):
        open_dataset(folder)
    lenient = open_dataset(folder, check=False)
    assert lenient.length("v0") == 10
    with pytest.raises(InputError, match=message):
        lenient.features("v1")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_on_loading(folder, value):
    features = rows(11, 6)
    features[3, 2] = value
    np.save(folder / "features" / "v1.npy", features)
    dataset = open_dataset(folder)
    with pytest.raises(InputError, match=r"v1\.npy: 1 value is NaN or infinite .* snippet 3"):
        dataset.load_features("v1")


def test_an_unclear_folder_says_what_to_do(folder, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_dataset(folder, DatasetOptions(annotations=tmp_path / "nowhere"))
    (folder / "annotations.json").rename(folder / "one.json")
    assert len(open_dataset(folder).annotations.videos) == 4
    (folder / "two.json").write_text("{}")
    with pytest.raises(InputError, match=r"several JSON files \(one\.json, two\.json\)"):
        open_dataset(folder)
    dataset = open_dataset(folder / "features", DatasetOptions(annotations=folder / "one.json"))
    assert dataset.length("v3") == 13
    for file in (folder / "features").iterdir():
        file.rename(file.with_name(f"other_{file.name}"))
    options = DatasetOptions(annotations=folder / "one.json")
    with pytest.raises(InputError, match=r"none of the 4 annotated videos .* \(v0\.npy"):
        open_dataset(folder, options)


def test_subsets_nobody_named_are_asked_for(folder):
    text = (folder / "annotations.json").read_text()
    (folder / "annotations.json").write_text(text.replace("Test", "fold2"))
    dataset = open_dataset(folder)
    with pytest.raises(InputError, match=r"cannot tell which subset to train on .*--train-subset"):
        _ = dataset.train_subset
    with pytest.raises(InputError, match=r"cannot tell which subset to test on .*--test-subset"):
        _ = dataset.test_subset


def test_odd_channels_need_a_split(folder):
    for index in range(4):
        np.save(folder / "features" / f"v{index}.npy", rows(10 + index, 5))
    with pytest.raises(InputError, match="5 channels a snippet do not halve: say --rgb-dim"):
        open_dataset(folder)
    assert open_dataset(folder, DatasetOptions(rgb_dim=2)).flow_dim == 3


def test_transposed_features_are_named(folder):
    for index in range(4):
        np.save(folder / "features" / f"v{index}.npy", rows(10 + index, 6).T)
    with pytest.raises(InputError, match=r"every video has 6 rows .* transposed\? Expected .*T, D"):
        open_dataset(folder)


def test_streams_in_one_folder_or_one_archive_are_read(folder):
    for index in range(4):
        (folder / "features" / f"v{index}.npy").unlink()
        rgb, flow = rows(10 + index, 2, 1), rows(10 + index - index % 3, 3, 2)
        if index < 2:
            np.save(folder / "features" / f"v{index}_rgb.npy", rgb)
            np.save(folder / "features" / f"v{index}_flow.npy", flow)
        else:
            np.savez(folder / "features" / f"v{index}.npz", rgb=rgb, flow=flow)
    (folder / "features" / "._v0_rgb.npy").write_bytes(b"\0Mac")
    dataset = open_dataset(folder)
    assert (dataset.rgb_dim, dataset.flow_dim) == (2, 3)
    assert [dataset.length(f"v{i}") for i in range(4)] == [10, 10, 10, 13]
    np.testing.assert_array_equal(dataset.features("v1"), [[1, 1, 2, 2, 2]] * 10)
    assert dataset.warnings == (
        "2 videos: RGB and flow differ by up to 2 snippets, the longer is cut (v1, v2)",
    )


def test_an_array_of_archives_is_chosen_and_crops_are_averaged(folder):
    for index in range(4):
        (folder / "features" / f"v{index}.npy").unlink()
        crops = np.stack([rows(10 + index, 6, crop) for crop in range(10)], axis=1)
        np.savez(folder / "features" / f"v{index}.npz", feats=crops, scores=rows(10 + index, 2))
    with pytest.raises(InputError, match=r"expected one array, or rgb and flow.* --key"):
        open_dataset(folder)
    with pytest.raises(InputError, match="10 crops of each snippet"):
        open_dataset(folder, DatasetOptions(key="feats"))
    dataset = open_dataset(folder, DatasetOptions(key="feats", average_crops=True))
    np.testing.assert_array_equal(dataset.features("v0"), rows(10, 6, 4.5))


def test_one_stream_of_i3d_is_named(folder):
    for index in range(4):
        np.save(folder / "features" / f"v{index}.npy", rows(10 + index, 1024))
    (warning,) = open_dataset(folder).warnings
    assert "1024 channels are those of one stream of I3D" in warning
    assert open_dataset(folder, DatasetOptions(rgb_dim=512)).warnings == ()


def test_each_video_s_own_frame_rate_is_used_unless_fps_is_given(folder):
    document = json.loads((folder / "annotations.json").read_text())
    for index, entry in enumerate(document["database"].values()):
        entry["fps"] = 30 if index else 24
        entry["duration"] = (10 + index) * 16 / entry["fps"]
    (folder / "annotations.json").write_text(json.dumps(document))
    dataset = open_dataset(folder)
    assert dataset.timing == SnippetTiming(16, 30)
    assert [video.fps for video in dataset.annotations.videos] == [24, 30, 30, 30]
    assert dataset.warnings == (
        "1 video: another frame rate than 30 fps: each is timed at its own (v0)",
    )
    forced = open_dataset(folder, DatasetOptions(fps=30))
    assert [video.fps for video in forced.annotations.videos] == [None] * 4
    assert forced.warnings == (
        "1 video: annotated with another frame rate, timed at 30 fps as --fps says (v0)",
    )


def test_the_first_window_s_offset_is_taken_from_the_options_or_the_json(folder):
    assert open_dataset(folder, DatasetOptions(offset_frames=8)).timing.offset_frames == 8
    document = json.loads((folder / "annotations.json").read_text())
    document["timing"] = {"snippet_frames": 16, "fps": 25.0, "offset_frames": 4}
    (folder / "annotations.json").write_text(json.dumps(document))
    dataset = open_dataset(folder)
    assert dataset.timing == SnippetTiming(16, 25.0, 4)
    assert dataset.warnings == ()


@pytest.mark.parametrize("features", [True, False])
def test_a_class_without_training_videos_is_named_with_its_cost(folder, features):
    document = json.loads((folder / "annotations.json").read_text())
    document["database"]["v3"]["annotations"][0]["label"] = "b"
    (folder / "annotations.json").write_text(json.dumps(document))
    assert open_dataset(folder, features=features).warnings == (
        "1 class: 0 training videos: cannot be learned, counts as AP 0 (b)",
    )
    only_test = DatasetOptions(train_subset="test")
    assert open_dataset(folder, only_test, features=features).warnings == ()


def test_unicode_forms_of_a_file_s_name_are_one_video(folder):
    document = json.loads((folder / "annotations.json").read_text())
    document["database"]["caf\u00e9 "] = document["database"].pop("v0")
    (folder / "annotations.json").write_text(json.dumps(document))
    (folder / "features" / "v0.npy").rename(folder / "features" / "v_cafe\u0301.npy")
    assert open_dataset(folder).length("caf\u00e9") == 10


def test_what_made_the_features_is_kept(folder, tmp_path):
    assert open_dataset(folder).extraction is None
    extraction = {"backbone": {"name": "i3d"}, "flow": "tvl1"}
    (folder / "features" / "extraction.json").write_text(json.dumps(extraction))
    assert open_dataset(folder).extraction == extraction
    (folder / "features" / "extraction.json").write_text("[1]")
    with pytest.raises(InputError, match=r"extraction\.json: expected a JSON object"):
        open_dataset(folder)
