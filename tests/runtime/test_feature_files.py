import numpy as np
import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.feature_files import find_feature_files, pair_streams


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(files):
    return [(file.video, file.path.name, file.flow_path and file.flow_path.name) for file in files]


def test_finds_files_folders_and_patterns(tmp_path):
    for name in ("b.npy", "a.npy", "c.npz"):
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert [file.video for file in find_feature_files([tmp_path])] == ["a", "b", "c"]
    assert [file.video for file in find_feature_files([f"{tmp_path}/[ab].npy"])] == ["a", "b"]
    assert [f.video for f in find_feature_files([tmp_path / "b.npy", tmp_path])] == ["b", "a", "c"]


def test_refuses_patterns_and_folders_without_features(tmp_path):
    with pytest.raises(InputError, match="no file matches this pattern"):
        find_feature_files([f"{tmp_path}/*.npy"])
    with pytest.raises(InputError, match="in this folder"):
        find_feature_files([tmp_path])


def test_refuses_two_videos_of_one_name(tmp_path):
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "v.npy", tmp_path / "x" / "v.npy"):
        path.touch()
    with pytest.raises(InputError, match="the same name"):
        find_feature_files([tmp_path, tmp_path / "x"])


def test_folders_are_searched_at_any_depth_without_hidden_files(tmp_path):
    touch(tmp_path, "train/a.npy", "test/deep/b.npy", "._a.npy", "train/._a.npy", ".trash/c.npy")
    touch(tmp_path, "train/.a.npy.k3j2h1g0")
    assert [file.video for file in find_feature_files([tmp_path])] == ["b", "a"]
    assert [file.video for file in find_feature_files([f"{tmp_path}/train/*.npy"])] == ["a"]


@pytest.mark.parametrize(
    "names",
    [
        ("a_rgb.npy", "a_flow.npy", "b_RGB.npy", "b_Flow.npy"),
        ("rgb/a.npy", "flow/a.npy", "RGB/b.npy", "Flow/b.npy"),
        ("rgb/a_rgb.npy", "flow/a_flow.npy", "rgb/deep/b.npy", "flow/deep/b.npy"),
    ],
)
def test_streams_are_paired_by_folder_or_ending(tmp_path, names):
    touch(tmp_path, *names)
    files = pair_streams(tmp_path)
    assert sorted(file.video for file in files) == ["a", "b"]
    for file in files:
        assert "rgb" in str(file.path.relative_to(tmp_path)).lower()
        assert "flow" in str(file.flow_path.relative_to(tmp_path)).lower()


def test_an_ending_without_its_other_half_is_part_of_the_name(tmp_path):
    touch(tmp_path, "overflow_flow.npy", "b.npy")
    assert found(pair_streams(tmp_path)) == [
        ("b", "b.npy", None),
        ("overflow_flow", "overflow_flow.npy", None),
    ]


def test_one_stream_alone_is_refused(tmp_path):
    touch(tmp_path, "rgb/a.npy")
    with pytest.raises(InputError, match="found a folder of rgb features but none of flow"):
        pair_streams(tmp_path)


def test_the_flow_folder_is_searched_by_the_video_s_name(tmp_path):
    touch(tmp_path, "rgb/a_rgb.npy", "flow/x/a_flow.npy", "rgb/b.npy", "flow/b.npy", "rgb/c.npy")
    files = find_feature_files([tmp_path / "rgb"], tmp_path / "flow")
    assert found(files) == [
        ("a", "a_rgb.npy", "a_flow.npy"),
        ("b", "b.npy", "b.npy"),
        ("c", "c.npy", "c.npy"),
    ]
    np.save(tmp_path / "rgb/c.npy", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"flow/c\.npy: no such file"):
        files[2].read()


def test_names_that_no_file_can_have_are_a_file_s_error():
    # as a pattern, the second would take minutes
    for name in ("x" * 300, "[" * 100_000, "a\0b"):
        (file,) = find_feature_files([name])
        with pytest.raises(InputError, match="no such file"):
            file.read()
    with pytest.raises(InputError, match="not a pattern that can be searched"):
        find_feature_files(["**.npy"])


def test_a_folder_is_no_feature_file(tmp_path):
    (file,) = find_feature_files([tmp_path / "a.npy"])
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(InputError, match=r"a\.npy: a folder, expected a file"):
        file.read()
