"""ONNX files read without onnx: the wire format, and graphs whose weights stay in the file."""

import shutil

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.artefact.contract import METADATA_KEY
from co2net_runtime.artefact.onnx_file import read_graph, read_metadata, weight_files
from co2net_runtime.artefact.wire_format import DamagedError, delimited, fields, read_varint, varint
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.ort.cpu import FOLDER_KEY, maps_weights
from co2net_runtime.errors import InputError
from co2net_runtime.network.network import Network


@given(st.integers(0, 2**63 - 1))
def test_varint_round_trip(value):
    encoded = varint(value)
    assert read_varint(encoded, 0, len(encoded)) == (value, len(encoded))


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300)), max_size=5))
def test_fields_round_trip(parts):
    message = b"".join(delimited(number, content) for number, content in parts)
    found = [(part.number, message[part.content : part.end]) for part in fields(message)]
    assert found == parts


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(message):
    """Any bytes are a message whose fields follow one another, or damaged."""
    try:
        found = list(fields(message))
    except DamagedError:
        return
    assert [part.start for part in found] == [0, *(part.end for part in found)][:-1]


def test_weights_stay_in_the_file(tiny_path):
    graph = read_graph(tiny_path)
    weights = sum(len(chunk) for chunk in _large_chunks(tiny_path))
    assert len(graph.model) < tiny_path.stat().st_size - weights + 200 * 20
    assert weights > 0
    assert (graph.folder, graph.file) == (tiny_path.parent, tiny_path.name)


def _large_chunks(path):
    """The raw numbers of the initializers that are read from the file."""
    onnx = pytest.importorskip("onnx", reason="only the exporter's extra brings onnx")
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.raw_data) >= 1024:
            yield tensor.raw_data


@pytest.fixture
def run():
    """Run a graph apart from its weights on one video."""

    def run_(graph, features):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry(FOLDER_KEY, str(graph.folder))
        session = onnxruntime.InferenceSession(graph.model, options)
        feeds = {"features": features[None], "lengths": np.array([len(features)])}
        return session.run(["cas", "attention"], feeds)

    return run_


@pytest.mark.skipif(not maps_weights(onnxruntime), reason="ONNX Runtime before 1.21 reads the file")
@pytest.mark.parametrize("place", ["plain", "with spaces and ü", "link"])
def test_engine_maps_the_weights(place, tiny_path, tiny_arrays, tmp_path, run):
    folder = tmp_path / place
    folder.mkdir()
    path = folder / "model.onnx"
    if place == "link":
        path.symlink_to(tiny_path)
    else:
        shutil.copy(tiny_path, path)
    cas, attention = run(read_graph(path), tiny_arrays["video_17_features"])
    np.testing.assert_allclose(cas[0], tiny_arrays["tiny_video_17_cas"], atol=1e-5)
    np.testing.assert_allclose(attention[0], tiny_arrays["tiny_video_17_attention"], atol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_weights_in_another_file_are_found_by_the_engine(
    backend, tiny_path, tiny_arrays, tmp_path, monkeypatch
):
    """Laid out as in the Hugging Face cache: both files are links into a folder of blobs."""
    pytest.importorskip(backend)
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    onnx = pytest.importorskip("onnx", reason="only the exporter's extra brings onnx")
    for folder in ("blobs", "snapshot"):
        (tmp_path / folder).mkdir()
    model = onnx.load(tiny_path)
    path = tmp_path / "snapshot" / "model.onnx"
    onnx.save(
        model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=100
    )
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / "snapshot" / name).rename(tmp_path / "blobs" / f"hash-of-{name}")
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/hash-of-{name}")
    assert read_graph(path) is None
    assert weight_files(path) == {"model.onnx.data"}
    assert weight_files(tiny_path) == set()
    engine = EngineOptions(backend=backend, device="cpu", threads=1)
    with Network.open(path, engine) as network:
        (found,) = network.run([tiny_arrays["video_17_features"]])
    np.testing.assert_allclose(found.cas, tiny_arrays["tiny_video_17_cas"], atol=1e-5)


@pytest.mark.parametrize("reader", [read_graph, read_metadata, weight_files])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9])
def test_truncated_files(reader, share, tiny_path, tmp_path):
    path = tmp_path / "cut.onnx"
    whole = tiny_path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.onnx: (damaged or truncated|the file is empty)"):
        reader(path)


def test_metadata(tiny_path, tmp_path):
    metadata = read_metadata(tiny_path)
    assert METADATA_KEY in metadata
    assert metadata["co2net.classes"] == "Run, Jump, Throw"
    with pytest.raises(InputError, match="no such file"):
        read_metadata(tmp_path / "none.onnx")
