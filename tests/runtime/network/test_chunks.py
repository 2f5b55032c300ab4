import dataclasses
import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli.infer import main
from co2net_runtime.errors import BackendError, ContractError, InputError
from co2net_runtime.features import FeatureFile
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.chunks import FeatureRows, check_siblings, run_in_chunks, split
from co2net_runtime.network.pipeline import run_files
from co2net_runtime.options import DecodeOptions, SnippetTiming


@pytest.fixture(scope="module", params=["tiny", "tiny_pool"])
def opened(request, tiny_path):
    """The whole-video graph and the chunk graph of a model, with pooling or without."""
    with Localizer.load(
        tiny_path.with_name(f"{request.param}.onnx"),
        EngineOptions(device="cpu", threads=1),
        chunk=3,
    ) as localizer:
        yield localizer, localizer.network._graph_for_chunks(4)


def gate(cas):
    return 1e-5 * max(1.0, np.abs(cas).max())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 310), st.integers(0, 99))
def test_chunks_equal_the_whole_video(opened, length, chunk, seed):
    localizer, graph = opened
    rng = np.random.default_rng(seed)
    features = np.abs(rng.standard_normal((length, 16))).astype(np.float32)
    whole = localizer.network._backend.infer(
        {"features": features[None], "lengths": np.array([length])}
    )
    cas, attention = run_in_chunks(graph, FeatureRows(features, where="x", feature_dim=16), chunk)
    limit = gate(whole["cas"])
    np.testing.assert_allclose(cas, whole["cas"][0], rtol=0, atol=limit)
    np.testing.assert_allclose(attention, whole["attention"][0, :, 0], rtol=0, atol=limit)


def test_20000_snippets_equal_the_whole_video(opened, videos):
    localizer, graph = opened
    (features,) = videos(20_000)
    whole = localizer.network._backend.infer(
        {"features": features[None], "lengths": np.array([20_000])}
    )
    cas, attention = run_in_chunks(graph, FeatureRows(features, where="x", feature_dim=16), 1000)
    np.testing.assert_allclose(cas, whole["cas"][0], rtol=0, atol=gate(cas))
    np.testing.assert_allclose(attention, whole["attention"][0, :, 0], rtol=0, atol=gate(cas))


@given(st.integers(1, 200), st.integers(1, 70), st.integers(0, 9))
def test_split_covers_the_video_once(length, chunk, halo):
    parts = list(split(length, chunk, halo))
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(length))
    for part in parts:
        assert part.stop - part.start <= chunk
        assert part.low == max(0, part.start - halo)
        assert part.high == min(length, part.stop + halo)


def test_mean_is_summed_in_float64():
    # float32 sums stop growing at 2^24
    rows = FeatureRows(
        np.ones((1, 16), np.float32).repeat(9000, 0) * 7777, where="x", feature_dim=16
    )
    np.testing.assert_array_equal(rows.mean(), np.full(16, 7777, np.float32))


def test_localizer_takes_chunks_by_itself(tiny_path, videos, tmp_path):
    long, short = videos(90, 20)
    np.save(tmp_path / "long.npy", long.astype(np.float16))
    np.save(tmp_path / "short.npy", short)
    (tmp_path / "flow").mkdir()
    (tmp_path / "rgb").mkdir()
    np.save(tmp_path / "rgb" / "a.npy", long[:, :6])
    np.save(tmp_path / "flow" / "a.npy", long[:, 6:].astype(np.float64))
    with (
        Localizer.load(tiny_path, EngineOptions(device="cpu", threads=1)) as whole,
        Localizer.load(tiny_path, EngineOptions(device="cpu", threads=1), chunk=32) as chunked,
    ):
        half = long.astype(np.float16).astype(np.float32)
        for features in (long, short):
            assert len(chunked(features)) == len(whole(features))
        together = chunked.batch([long, short, long])
        assert [len(one) for one in together] == [len(whole(v)) for v in (long, short, long)]
        found = dict(chunked.stream_files([tmp_path / "long.npy", tmp_path / "short.npy"]))
        expected = whole(half)
        np.testing.assert_array_equal(found["long"].segments, expected.segments)
        np.testing.assert_allclose(found["long"].scores, expected.scores, atol=1e-5)
        file = FeatureFile("a", tmp_path / "rgb" / "a.npy", tmp_path / "flow" / "a.npy")
        (outcome,) = run_files(chunked.network, [file])
        np.testing.assert_array_equal(
            chunked.detect(outcome.activations).segments, whole(long).segments
        )


def test_bad_values_of_a_long_file_are_reported_with_their_place(tiny_path, videos, tmp_path):
    (bad,) = videos(100)
    bad[57, 3] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "good.npy", videos(100)[0])
    np.save(tmp_path / "wide.npy", np.ones((100, 17), np.float32))
    out = tmp_path / "found.json"
    done = CliRunner().invoke(
        main,
        [*map(str, (tiny_path, tmp_path, "--chunk", 20, "--device", "cpu", "--out", out))],
    )
    assert done.exit_code == 1
    assert "bad.npy, snippets 0 to 99: 1 value is NaN" in done.stderr
    assert "the first in snippet 57, channel 3" in done.stderr
    assert "wide.npy" in done.stderr
    found = json.loads(out.read_text())
    assert list(found["results"]) == ["good"]


def test_chunk_graph_of_another_checkpoint_is_refused(tiny_path, tmp_path, videos):
    shutil.copy(tiny_path, tmp_path / "m.onnx")
    other = tiny_path.with_name("tiny.chunk.onnx").read_bytes()
    (tmp_path / "m.chunk.onnx").write_bytes(other.replace(b"0" * 64, b"1" * 64))
    with (
        Localizer.load(tmp_path / "m.onnx", chunk=10) as localizer,
        pytest.raises(ContractError, match=r"another checkpoint .*\(checkpoint_sha256 differs"),
    ):
        localizer(videos(30)[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("checkpoint_sha256", "1" * 64),
        ("precision", "int8-cpu"),
        ("classes", ("Run", "Jump", "Swim")),
        ("timing", SnippetTiming(8)),
        ("decode", DecodeOptions(nms_sigma=0.5)),
    ],
)
def test_a_chunk_graph_must_be_of_the_same_export(tiny_path, field, value):
    path = tiny_path.with_name("tiny.chunk.onnx")
    whole, chunk = read_contract(tiny_path), read_contract(path)
    check_siblings(path, chunk, whole)
    with pytest.raises(ContractError, match=rf"tiny.chunk.onnx: .*\({field} differs\).*--chunks"):
        check_siblings(path, dataclasses.replace(chunk, **{field: value}), whole)


def test_another_graph_under_the_chunk_graphs_name_is_refused(tiny_path, tmp_path, videos):
    shutil.copy(tiny_path, tmp_path / "m.onnx")
    shutil.copy(tiny_path, tmp_path / "m.chunk.onnx")
    with (
        Localizer.load(tmp_path / "m.onnx", chunk=10) as localizer,
        pytest.raises(ContractError, match="expected the chunk graph, found the whole graph"),
    ):
        localizer(videos(30)[0])


def test_missing_chunk_graph_is_an_error_if_asked_for_and_else_a_warning(
    tiny_path, tmp_path, videos, monkeypatch, caplog
):
    shutil.copy(tiny_path, tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m.chunk.onnx: no such file.*--chunks"):
        Localizer.load(tmp_path / "m.onnx", chunk=10)
    monkeypatch.setattr("co2net_runtime.network.network.DEFAULT_CHUNK", 10)
    with Localizer.load(tmp_path / "m.onnx") as localizer:
        localizer(videos(30)[0])
    assert "m.chunk.onnx is missing" in caplog.text


def test_files_of_schema_1_still_run(tiny_path, tmp_path, videos):
    """Then the chunk graph was MODEL.stream.onnx and called itself "stream"."""
    old = tiny_path.parent / "schema1"
    for name in ("tiny.onnx", "tiny.stream.onnx"):
        shutil.copy(old / name, tmp_path / name)
    assert b'"schema_version": 1' in (tmp_path / "tiny.stream.onnx").read_bytes()
    assert read_contract(tmp_path / "tiny.stream.onnx").graph == "chunk"
    (features,) = videos(90)
    options = EngineOptions(device="cpu", threads=1)
    with (
        Localizer.load(tmp_path / "tiny.onnx", options, chunk=32) as former,
        Localizer.load(tiny_path, options, chunk=32) as current,
    ):
        found, expected = former(features), current(features)
    np.testing.assert_array_equal(found.segments, expected.segments)
    np.testing.assert_array_equal(found.scores, expected.scores)
    # the current name comes first where both are there
    (tmp_path / "tiny.chunk.onnx").touch()
    with (
        Localizer.load(tmp_path / "tiny.onnx", options, chunk=32) as former,
        pytest.raises(InputError, match=r"tiny\.chunk\.onnx: the file is empty"),
    ):
        former(features)


MEMORY_PROGRAM = """
    import resource, sys
    import numpy as np
    from co2net_runtime.network.chunks import FeatureRows, run_in_chunks
    from co2net_runtime.backends import EngineOptions
    from co2net_runtime.localizer import Localizer

    model, path = sys.argv[1:]
    with Localizer.load(model, EngineOptions(device="cpu", threads=1), chunk=4096) as localizer:
        graph = localizer.network._graph_for_chunks(10**6)

        def run(rows):
            run_in_chunks(graph, FeatureRows(rows, where=path, feature_dim=16), 4096)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        mapped = np.load(path, mmap_mode="r")
        before = run(mapped[:20_000])
        print(run(mapped) - before)
"""


def test_a_million_snippets_in_the_memory_of_the_outputs(tiny_path, tmp_path):
    """7.4 days of video; the outputs are 20 MB, the features 64 MB."""
    path, count = tmp_path / "long.npy", 1_000_000
    block = np.abs(np.random.default_rng(0).standard_normal((count // 50, 16))).astype(np.float32)
    features = np.lib.format.open_memmap(path, "w+", np.float32, (count, 16))
    for start in range(0, count, len(block)):
        features[start : start + len(block)] = block
    del features
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY_PROGRAM), str(tiny_path), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    outputs = count * (4 + 1) * 4
    assert int(done.stdout) < outputs + 20_000_000


def test_a_chunk_graph_in_another_engine_is_an_error(tiny_path, videos, monkeypatch):
    """The results say one engine, so there is one."""
    with Localizer.load(tiny_path, EngineOptions(backend="onnxruntime", device="cpu")) as ours:
        ours.network.options = EngineOptions(backend="openvino", device="cpu")
        pytest.importorskip("openvino")
        monkeypatch.setattr("co2net_runtime.network.network.DEFAULT_CHUNK", 50)
        with pytest.raises(BackendError, match=r"tiny.chunk.onnx: runs in openvino .*, the model"):
            ours.network.run(videos(80))
