import numpy as np
import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile, as_rows, check_features


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


def test_joins_two_streams(tmp_path):
    rgb = save(tmp_path, "rgb.npy", np.zeros((3, 2), np.float32))
    flow = save(tmp_path, "flow.npy", np.ones((3, 1), np.float16))
    np.testing.assert_array_equal(FeatureFile("v", rgb, flow).read(3), [[0, 0, 1]] * 3)


@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_the_longer_stream_is_cut_by_up_to_two_snippets(tmp_path, caplog, length):
    rgb = save(tmp_path, "v.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    flow = save(tmp_path, "f.npy", np.arange(length, dtype=np.float32)[:, None])
    with caplog.at_level("INFO"):
        features = FeatureFile("v", rgb, flow).read(3)
    kept = min(3, length)
    np.testing.assert_array_equal(features[:, :2], np.arange(2 * kept).reshape(-1, 2))
    np.testing.assert_array_equal(features[:, 2], np.arange(kept))
    assert f"the longer stream is cut to {kept} snippets" in caplog.text


def test_refuses_streams_of_too_different_lengths(tmp_path):
    rgb = save(tmp_path, "v.npy", np.zeros((3, 2), np.float32))
    flow = save(tmp_path, "f.npy", np.zeros((6, 2), np.float32))
    with pytest.raises(InputError, match=r"v\.npy with .*f\.npy: 3 snippets of RGB but 6 of flow"):
        FeatureFile("v", rgb, flow).read()


def test_names_the_stream_that_has_a_nan(tmp_path):
    rgb = save(tmp_path, "v.npy", np.zeros((3, 2), np.float32))
    flow = save(tmp_path, "f.npy", np.full((3, 2), np.nan, np.float32))
    with pytest.raises(InputError, match=r"^\S+f\.npy: 6 values are NaN"):
        FeatureFile("v", rgb, flow).read()


@pytest.mark.parametrize("shape", [(5, 1, 4), (5, 1, 1, 4), (1, 5, 4), (5, 4, 1, 1), (1, 5, 1, 4)])
def test_axes_of_length_1_are_dropped(tmp_path, shape):
    rows = np.arange(20, dtype=np.float32)
    features = FeatureFile("v", save(tmp_path, "v.npy", rows.reshape(shape))).read(4)
    np.testing.assert_array_equal(features, rows.reshape(5, 4))


def test_one_snippet_keeps_its_axis():
    assert as_rows(np.ones((1, 1, 1, 4)), "here").shape == (1, 4)


@pytest.mark.parametrize("axis", [0, 1])
def test_ten_crops_are_named_and_can_be_averaged(tmp_path, axis):
    rows = np.arange(20, dtype=np.float32).reshape(5, 4)
    crops = np.stack([rows + crop for crop in range(10)], axis)
    file = FeatureFile("v", save(tmp_path, "v.npy", crops))
    with pytest.raises(InputError, match=rf"10 crops .* --average-crops.*mean\(axis={axis}\)"):
        file.read(4)
    averaged = FeatureFile("v", file.path, average_crops=True).read(4)
    np.testing.assert_array_equal(averaged, rows + 4.5)


def test_an_archive_of_rgb_and_flow_is_joined(tmp_path):
    np.savez(tmp_path / "v.npz", flow=np.ones((4, 1)), RGB=np.zeros((3, 2)), fps=np.array(25.0))
    np.testing.assert_array_equal(FeatureFile("v", tmp_path / "v.npz").read(3), [[0, 0, 1]] * 3)


def test_the_array_of_the_model_s_width_is_taken_or_the_one_that_is_named(tmp_path):
    np.savez(tmp_path / "v.npz", feats=np.zeros((3, 2)), n_probs=np.ones((3, 5)))
    assert FeatureFile("v", tmp_path / "v.npz").read(2).shape == (3, 2)
    assert FeatureFile("v", tmp_path / "v.npz", key="n_probs").read().shape == (3, 5)
    with pytest.raises(
        InputError, match=r"one array, or rgb and flow .* feats \(3, 2\), n_probs .* --key"
    ):
        FeatureFile("v", tmp_path / "v.npz").read(7)
    with pytest.raises(InputError, match=r"expected an array 'verbs' in the archive"):
        FeatureFile("v", tmp_path / "v.npz", key="verbs").read()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (np.ones((3, 4), np.int32), "dtype int32"),
        (np.ones((3, 5), np.float32), r"expected 4 channels a snippet, found shape \(3, 5\)"),
        (
            np.ones((9, 2), np.float32),
            r"shape \(9, 2\) \(one stream of two\? .* --flow DIR\)",
        ),
        (np.ones((9, 0), np.float32), "expected 4 channels"),
        (np.ones((4, 9), np.float32), r"shape \(4, 9\) \(transposed\?\)"),
        (np.ones((0, 4), np.float32), r"no snippets \(T = 0\)"),
        (np.ones(4, np.float32), r"expected an array \(T, D\), found shape \(4,\)"),
        (np.array([[0, 0, 0, 0], [0, 0, np.nan, 0]], np.float32), "snippet 1, channel 2"),
        (np.array([[0, 0, 0, -np.inf]], np.float32), "1 value is NaN or infinite"),
        (np.array([[0, 0, 0, 1e300]]), "1 value is NaN or infinite"),
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
        "cut.npy": r"damaged or truncated: its header announces an array of shape \(30, 4\), 480",
        "header.npy": "damaged or truncated",
        "empty.npy": "the file is empty",
        "zip.npz": "damaged or truncated",
        "objects.npy": "an object array.*co2net-data convert",
        "text.npy": "damaged",
        "missing.npy": "no such file",
    }.items():
        with pytest.raises(InputError, match=f"{name}: {text}"):
            FeatureFile("v", tmp_path / name).read()
