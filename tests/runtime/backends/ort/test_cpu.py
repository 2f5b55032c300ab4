"""The two forms of a file optimized for the CPU: the one that was asked for, in every call."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.artefact.contract import MIN_ROWS
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import FAST_FORM_PAYS
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.cli.infer import main
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.batching import PACKED_SNIPPETS, group_to_pack
from co2net_runtime.network.network import Network

ONE_THREAD = EngineOptions(device="cpu", threads=1)
PLAIN = EngineOptions(device="cpu", threads=1, cpu_form="plain")


@pytest.fixture
def optimized_path(tiny_path, tmp_path):
    """The tiny model optimized for the CPU, in a folder of its own."""
    return shutil.copy(tiny_path.with_name("tiny_cpu.onnx"), tmp_path / "model.onnx")


@pytest.fixture
def whole(tiny_path):
    """The whole file in plain ONNX Runtime: to the last bit what the fast form gives."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(tiny_path.with_name("tiny_cpu.onnx"), options)


def feeds(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    batch = np.abs(rng.standard_normal((len(lengths), max(lengths), 16))).astype(np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[length:] = np.nan
    return {"features": batch, "lengths": np.array(lengths)}


@pytest.mark.parametrize("lengths", [(MIN_ROWS,), (2 * FAST_FORM_PAYS,), (40, 40, 30)])
def test_each_form_is_the_one_asked_for(optimized_path, tiny_path, whole, lengths):
    given_ = feeds(*lengths)
    fast_bits = whole.run(["cas", "attention"], given_)
    with (
        open_backend(tiny_path, ONE_THREAD) as reference,
        open_backend(optimized_path, ONE_THREAD) as fast,
        open_backend(optimized_path, PLAIN) as plain,
    ):
        expected = list(reference.infer(given_).values())
        found_fast, found_plain = fast.infer(given_), plain.infer(given_)
    assert all(map(np.array_equal, found_fast.values(), fast_bits))
    assert not all(map(np.array_equal, found_plain.values(), fast_bits))
    for found in (found_fast, found_plain):
        for array, wanted in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(array, wanted, atol=1e-5)


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_the_same_call_gives_the_same_bits_whatever_came_before(optimized_path, videos, form):
    """Above all not another form after many snippets."""
    options = EngineOptions(device="cpu", threads=1, cpu_form=form)
    (features,) = videos(130)
    with Localizer.load(optimized_path, options) as fresh:
        expected = fresh(features)
    with Localizer.load(optimized_path, options) as used:
        for other in videos(1900, 3, 400, 90, seed=1):
            used(other)
        used.batch(videos(50, 60, 70, seed=2))
        found = used(features)
    np.testing.assert_array_equal(found.segments, expected.segments)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("form", ["plain", "fast"])
def test_threads_get_the_right_outputs(optimized_path, tiny_path, form):
    given_ = [feeds(90 + 10 * seed, seed=seed) for seed in range(8)]
    with open_backend(tiny_path, ONE_THREAD) as reference:
        expected = [reference.infer(one)["cas"] for one in given_]
    options = EngineOptions(device="cpu", threads=1, cpu_form=form)
    with open_backend(optimized_path, options) as backend, ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(backend.infer, given_), expected, strict=True):
            np.testing.assert_allclose(found["cas"], wanted, atol=1e-5)


def test_localizer_says_what_the_plain_one_says(optimized_path, tiny_path, videos):
    ragged = videos(5, 130, 77, 400, 1900)
    with (
        Localizer.load(tiny_path, ONE_THREAD) as plain,
        Localizer.load(optimized_path, ONE_THREAD) as fast,
    ):
        for wanted, found in zip(plain.batch(ragged), fast.batch(ragged), strict=True):
            np.testing.assert_array_equal(found.segments, wanted.segments)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)


def test_only_the_fast_form_packs(optimized_path, tiny_path):
    """The plain form would compute the padding of a packed batch."""
    for path, options, packs in [
        (optimized_path, ONE_THREAD, True),
        (optimized_path, PLAIN, False),
        (tiny_path, ONE_THREAD, False),
    ]:
        with Network.open(path, options) as network:
            assert network.is_packing == packs


def test_files_are_packed_in_order(optimized_path, tiny_path, feature_folder, monkeypatch):
    """Short videos share calls, broken files among them or not, and come out in order."""
    folder = feature_folder(60, 90, 70, 300, 40, 700, 20, 100)
    (folder / "video_002.npy").write_bytes(b"broken")
    with (
        Localizer.load(tiny_path, ONE_THREAD) as plain,
        Localizer.load(optimized_path, ONE_THREAD) as fast,
    ):
        calls = []
        infer = fast.network._backend.infer

        def counted(given):
            calls.append(sorted(given["lengths"].tolist()))
            return infer(given)

        monkeypatch.setattr(fast.network._backend, "infer", counted)
        failed = []
        found = list(fast.stream_files([folder], on_error=lambda file, _: failed.append(file)))
        wanted = dict(plain.stream_files([folder], on_error=lambda *_: None))
    assert [name for name, _ in found] == list(wanted)
    assert [file.video for file in failed] == ["video_002"]
    for name, detections in found:
        np.testing.assert_allclose(detections.scores, wanted[name].scores, atol=1e-5)
    assert calls == [[700], [40, 60, 90, 300], [20, 100]]


@given(st.lists(st.integers(1, 3000), max_size=40))
def test_groups_hold_every_video_once(lengths):
    groups = group_to_pack(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        held = [lengths[index] for index in group]
        assert sum(held[:-1]) < PACKED_SNIPPETS
    for group in groups[:-1]:
        assert sum(lengths[index] for index in group) >= PACKED_SNIPPETS


def test_the_form_is_chosen_from_all_the_work_in_hand():
    def chosen(*lengths):
        options = EngineOptions(threads=1).suiting(iter(lengths))
        assert options.threads == 1
        return options.cpu_form, options.typical_length

    assert chosen(FAST_FORM_PAYS - 1) == ("plain", FAST_FORM_PAYS - 1)
    assert chosen(None, FAST_FORM_PAYS - 1, 1) == ("fast", FAST_FORM_PAYS // 2)
    assert chosen(10, None, 31) == ("plain", 20)
    assert chosen(None) == chosen() == ("plain", None)


@pytest.mark.parametrize(
    ("lengths", "form"), [((90, 40), "plain"), ((FAST_FORM_PAYS - 60, 60), "fast")]
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_infer_chooses_once_and_says_it(optimized_path, feature_folder, lengths, form, suffix):
    folder = feature_folder(*lengths)
    if suffix == ".npz":
        for file in folder.iterdir():
            np.savez_compressed(file.with_suffix(".npz"), features=np.load(file))
            file.unlink()
    arguments = [optimized_path, folder, "--device", "cpu", "--threads", 1]
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    options = json.loads(done.stdout)["external_data"]["options"]
    assert (options["cpu_form"], options["threads"]) == (form, 1)


def test_a_run_goes_on_with_other_threads_and_in_another_form(
    optimized_path, feature_folder, videos, tmp_path
):
    folder, out = feature_folder(30), tmp_path / "found.json"
    arguments = [*map(str, (optimized_path, folder, "--device", "cpu", "--out", out))]
    assert CliRunner().invoke(main, [*arguments, "--threads", "1"]).exit_code == 0
    np.save(folder / "more.npy", videos(FAST_FORM_PAYS)[0])
    resumed = CliRunner().invoke(main, [*arguments, "--threads", "2", "--skip-existing"])
    assert resumed.exit_code == 0, resumed.stderr
    assert set(json.loads(out.read_text())["results"]) == {"video_000", "more"}


def test_other_files_have_no_form(tiny_path, feature_folder):
    done = CliRunner().invoke(main, [str(tiny_path), str(feature_folder(9)), "--device", "cpu"])
    options = json.loads(done.stdout)["external_data"]["options"]
    assert "cpu_form" not in options
    assert options["threads"] is None
