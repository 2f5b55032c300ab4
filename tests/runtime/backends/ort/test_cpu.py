"""The CPU's two forms of one file: the plain one at once, the fast one when it pays."""

import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.artefact.contract import MIN_ROWS
from co2net_runtime.backends.ort.backend import OnnxRuntimeBackend
from co2net_runtime.backends.ort.cpu import OPENING_ROWS
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.packing import PACKED_SNIPPETS, group_to_pack


@pytest.fixture
def optimised_path(tiny_path, tmp_path):
    """The tiny model optimised for the CPU, in a folder of its own."""
    return shutil.copy(tiny_path.with_name("tiny_cpu.onnx"), tmp_path / "model.onnx")


@pytest.fixture
def plain(tiny_path):
    with OnnxRuntimeBackend(tiny_path, threads=1) as backend:
        yield backend


@pytest.fixture
def backend(optimised_path):
    with OnnxRuntimeBackend(optimised_path, threads=1) as opened:
        yield opened


@pytest.fixture
def is_fast(backend, plain, tiny_path):
    """Whether a call ran in the fast form; its outputs are always near those of the plain file.

    The fast form is told by its rounding: the outputs are, to the last bit, those of the whole
    file in plain ONNX Runtime.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    whole = onnxruntime.InferenceSession(tiny_path.with_name("tiny_cpu.onnx"), options)

    def is_fast_(given):
        found, expected = backend.infer(given), plain.infer(given)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
        fast = whole.run(list(expected), given)
        return all(map(np.array_equal, found.values(), fast))

    return is_fast_


def feeds(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    batch = np.abs(rng.standard_normal((len(lengths), max(lengths), 16))).astype(np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[length:] = np.nan
    return {"features": batch, "lengths": np.array(lengths)}


def test_fast_form_takes_over_when_it_pays(is_fast):
    long = feeds(OPENING_ROWS // 2 - 1)
    assert not is_fast(long)
    assert is_fast(long)
    assert is_fast(feeds(MIN_ROWS - 1))


def test_one_long_video_pays_at_once(is_fast):
    assert is_fast(feeds(OPENING_ROWS))


def test_a_batch_counts_its_snippets(is_fast):
    ragged = feeds(*[MIN_ROWS // 2] * 30, MIN_ROWS // 3)
    assert not is_fast(ragged)
    assert is_fast(ragged)


def test_short_calls_never_open_it(backend, is_fast):
    short = feeds(MIN_ROWS - 2)
    for _ in range(OPENING_ROWS // MIN_ROWS + 2):
        backend.infer(short)
    assert not is_fast(feeds(MIN_ROWS))


def test_a_file_replaced_in_use_is_not_mixed_with_the_new_one(
    is_fast, optimised_path, tiny_path, caplog
):
    """The weights of the one and the graph of the other would give nonsense."""
    assert not is_fast(feeds(100))
    shutil.copy(tiny_path.with_name("tiny_pool.onnx"), f"{optimised_path}.new")
    os.replace(f"{optimised_path}.new", optimised_path)  # noqa: PTH105  # what operators do
    with caplog.at_level(logging.WARNING):
        assert not is_fast(feeds(OPENING_ROWS))
    assert "was replaced while in use" in caplog.text
    assert not is_fast(feeds(OPENING_ROWS))


def test_threads_switch_together(backend, plain):
    """Every call gets the right outputs, whichever form it meets."""
    given = [feeds(90 + 10 * seed, seed=seed) for seed in range(8)]
    expected = [plain.infer(one)["cas"] for one in given]
    with ThreadPoolExecutor(4) as pool:
        found = [list(pool.map(backend.infer, given)) for _ in range(4)]
    for round_ in found:
        for outputs, wanted in zip(round_, expected, strict=True):
            np.testing.assert_allclose(outputs["cas"], wanted, atol=1e-5)


def test_localizer_says_what_the_plain_one_says(optimised_path, tiny_path, videos):
    ragged = videos(5, 130, 77, 400, 1900)
    with (
        Localizer.load(tiny_path, device="cpu", threads=1) as plain,
        Localizer.load(optimised_path, device="cpu", threads=1) as fast,
    ):
        assert fast.packs
        assert not plain.packs
        for wanted, found in zip(plain.batch(ragged), fast.batch(ragged), strict=True):
            np.testing.assert_array_equal(found.segments, wanted.segments)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)


def test_files_are_packed_in_order(optimised_path, tiny_path, feature_folder, monkeypatch):
    """Short videos share calls, broken files among them or not, and come out in order."""
    folder = feature_folder(60, 90, 70, 300, 40, 700, 20, 100)
    (folder / "video_002.npy").write_bytes(b"broken")
    with (
        Localizer.load(tiny_path, device="cpu", threads=1) as plain,
        Localizer.load(optimised_path, device="cpu", threads=1) as fast,
    ):
        calls = []
        infer = fast._backend.infer

        def counted(given):
            calls.append(sorted(given["lengths"].tolist()))
            return infer(given)

        monkeypatch.setattr(fast._backend, "infer", counted)
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
