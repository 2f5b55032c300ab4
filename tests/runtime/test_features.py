import numpy as np
import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile, check_features, find_feature_files


def save(folder, name, array):
    path = folder / name
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_reads_floating_point_as_float32(tmp_path, dtype):
    rows = np.random.default_rng(0).random((5, 4)).astype(dtype)
    features = FeatureFile("v", save(tmp_path, "v.npy", rows)).read(4)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, rows.astype(np.float32))


def test_reads_an_archive_with_one_array(tmp_path):
    np.savez(tmp_path / "v.npz", feats=np.ones((3, 2), np.float32))
    assert FeatureFile("v", tmp_path / "v.npz").read().shape == (3, 2)


def test_refuses_an_archive_with_two_arrays(tmp_path):
    np.savez(tmp_path / "v.npz", rgb=np.ones((3, 2)), flow=np.ones((3, 2)))
    with pytest.raises(InputError, match="expected one array in the archive, found 2: rgb, flow"):
        FeatureFile("v", tmp_path / "v.npz").read()


def test_joins_two_streams(tmp_path):
    (tmp_path / "rgb").mkdir()
    (tmp_path / "flow").mkdir()
    save(tmp_path / "rgb", "v.npy", np.zeros((3, 2), np.float32))
    save(tmp_path / "flow", "v.npy", np.ones((3, 1), np.float16))
    (file,) = find_feature_files([tmp_path / "rgb"], tmp_path / "flow")
    np.testing.assert_array_equal(file.read(3), [[0, 0, 1]] * 3)


def test_refuses_streams_of_different_length(tmp_path):
    (tmp_path / "flow").mkdir()
    rgb = save(tmp_path, "v.npy", np.zeros((3, 2), np.float32))
    flow = save(tmp_path / "flow", "v.npy", np.zeros((4, 2), np.float32))
    with pytest.raises(InputError, match=r"4 snippets of flow, but .* has 3 of RGB"):
        FeatureFile("v", rgb, flow).read()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (np.ones((3, 4), np.int32), "dtype int32"),
        (np.ones((3, 5), np.float32), r"expected 4 channels a snippet, found shape \(3, 5\)"),
        (np.ones((4, 9), np.float32), r"shape \(4, 9\) \(transposed\?\)"),
        (np.ones((0, 4), np.float32), r"no snippets \(T = 0\)"),
        (np.ones(4, np.float32), r"expected an array \(T, D\), found shape \(4,\)"),
        (np.array([[0, 0, 0, 0], [0, 0, np.nan, 0]], np.float32), "snippet 1, channel 2"),
        (np.array([[0, 0, 0, -np.inf]], np.float32), "1 values are NaN or infinite"),
        (np.array([[0, 0, 0, 1e300]]), "1 values are NaN or infinite"),
    ],
)
def test_refuses(rows, text):
    with pytest.raises(InputError, match=f"here: .*{text}"):
        check_features(rows, "here", 4)


def test_refuses_damaged_files(tmp_path):
    whole = save(tmp_path, "whole.npy", np.ones((30, 4), np.float32))
    (tmp_path / "cut.npy").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "header.npy").write_bytes(whole.read_bytes()[:20])
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04 no archive")
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    for name, text in {
        "cut.npy": "damaged or truncated",
        "header.npy": "damaged or truncated",
        "empty.npy": "the file is empty",
        "zip.npz": "damaged or truncated",
        "objects.npy": "an object array.*co2net-data convert",
        "text.npy": "damaged",
        "missing.npy": "no such file",
    }.items():
        with pytest.raises(InputError, match=f"{name}: {text}"):
            FeatureFile("v", tmp_path / name).read()


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
