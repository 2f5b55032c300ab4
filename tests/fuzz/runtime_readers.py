"""The runtime's readers: features, artefacts, results, videos, streams."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract, read_graph, read_metadata
from co2net_runtime.artefact.wire_format import delimited
from co2net_runtime.feature_files import find_feature_files
from tests.fuzz.mutators import damage
from tests.fuzz.reader import (
    ANNOTATIONS,
    DATA,
    DIM,
    LINES,
    NPY,
    TEXT,
    ZIP,
    Reader,
    json_file,
    npy,
    rows,
    text_file,
)  # fmt: skip


def _features_npz(folder: Path) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, features=rows())
    return out.getvalue()


def _read_features(path: Path) -> None:
    for file in find_feature_files([path]):
        file.read(DIM)


# --- artefacts


def _tiny(folder: Path) -> bytes:
    return (DATA / "tiny.onnx").read_bytes()


def _contract_text(folder: Path) -> bytes:
    return read_metadata(DATA / "tiny.onnx")["co2net"].encode()


def _read_model(path: Path) -> None:
    read_contract(path)
    read_graph(path)


def _read_contract_text(path: Path) -> None:
    # metadata_props of a model: field 14, a message of key (1) and value (2)
    entry = delimited(1, b"co2net") + delimited(2, path.read_bytes())
    whole = path.with_name("model.onnx")
    whole.write_bytes((DATA / "tiny.onnx").read_bytes() + delimited(14, entry))
    found = read_contract(whole)
    assert isinstance(found, Contract)


# --- results and annotations

RESULTS = {
    "version": "co2net",
    "results": {
        "a": [{"label": "Jump", "score": 1.5, "segment": [3.2, 9.6]}],
        "b": [{"label": "Throw", "score": -0.5, "segment": [0.0, 1.28]}],
    },
    "external_data": {},
}


def _read_pictured(path: Path) -> None:
    from co2net_runtime.output.pictures import read_ground_truth

    read_ground_truth(path)


def _read_results(path: Path) -> None:
    from co2net_runtime.detections import read_results

    read_results(path, ("Jump", "Throw"))


def _format(kind: str) -> Any:
    from co2net_runtime.output.formats import Showing, make_format

    return make_format(kind, dict, Showing(("Jump", "Throw"), 0.0))  # type: ignore[arg-type]


def _earlier(kind: str) -> Callable[[Path], bytes]:
    def original(folder: Path) -> bytes:
        form = _format(kind)
        results: dict[str, Any] = RESULTS["results"]  # type: ignore[assignment]
        videos = form.separator.join(form.video(*one) for one in results.items())
        return (form.head + videos + form.tail()).encode()

    return original


def _read_earlier(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from co2net_runtime.output.sinks import open_sink

        form = _format(kind)
        sink = open_sink(str(path), kind, form, _format("jsonl"), resume=True)  # type: ignore[arg-type]
        try:
            sink.existing(["a", "b", "c"])
        finally:
            sink.close()

    return read


def _timeline_page(folder: Path) -> bytes:
    """A page in a folder of pictures, which may hold pages of others."""
    segments = [{"label": "Jump", "start_s": 1.0, "end_s": 2.0, "score": 0.5}]
    data = {"attention": [0.1, 0.9], "snippet_s": 0.64, "segments": segments}
    text = json.dumps(data)
    return f'<html><script id="data" type="application/json">{text}</script></html>'.encode()


def _read_index(path: Path) -> None:
    from co2net_runtime.output.index_page import write_index

    write_index(path.parent)


# --- parts of an archive

_IDENTITY = {
    "schema_version": 1, "model_sha256": "0" * 64, "engine": {"device": "cpu", "version": "1"},
    "options": {"threads": 1}, "batch": 1, "shards": 2, "videos": 2, "names_sha256": "1" * 64,
}  # fmt: skip
_SHARD = """{"error": "b.npy: damaged", "video": "b"}
{"video": "a", "results": [{"label": "Jump", "score": 1.5, "segment": [3.2, 9.6]}]}
"""


def _read_manifest(path: Path) -> None:
    from co2net_runtime.shards.folder import claim
    from co2net_runtime.shards.results import job_of

    job_of(path.parent)
    claim(path.parent, _IDENTITY)


def _read_shard(path: Path) -> None:
    from co2net_runtime.shards.folder import read_failures
    from co2net_runtime.shards.results import read_predictions

    list(read_failures(path))
    (path.parent / "manifest.json").write_text('{"shards": 1, "videos": 2}')
    read_predictions(path.parent)


def _read_list(path: Path) -> None:
    from co2net_runtime.feature_files import expand_lists

    # a folder is searched whole: "/" takes as long as it has files
    find_feature_files(name for name in expand_lists([f"@{path}"]) if not os.path.isdir(name))  # noqa: PTH112


def _engine_record(folder: Path) -> bytes:
    from co2net_runtime.backends.trt.cache import EngineRecord

    contract = json.loads(_contract_text(folder))
    record = EngineRecord(
        "0" * 64, "1" * 64, "10.13.2", "NVIDIA H100", "9.0", 132, 80, "x86_64", ("1x64:1x512",),
        tf32=False, hardware_compatible=False, version_compatible=False, workspace_mib=None,
        optimization_level=3, contract=contract, build_s=1.5,
    )  # fmt: skip
    (folder / "model.engine").write_bytes(b"engine")
    return record.to_json().encode()


def _read_engine_record(path: Path) -> None:
    from co2net_runtime.backends.device import Gpu
    from co2net_runtime.backends.trt.cache import Target, _read_record, _unfit, contract_of

    record = _read_record(path.with_suffix(""))
    contract_of(record, str(path))
    _unfit(record, Target(Gpu(0, "NVIDIA H100", (9, 0), 80 << 30, 132), "10.13.2"))


# --- videos

_BACKBONE = {
    "schema_version": 1, "kind": "backbone", "stream": "flow", "name": "i3d",
    "weights": "flow_imagenet", "weights_sha256": "0" * 64, "width": 1024, "opset": 20,
    "flow": {"algorithm": "dis-fast"},
}  # fmt: skip


def _read_backbone(path: Path) -> None:
    from co2net_runtime.artefact.backbone import read_backbone_contract

    entry = delimited(1, b"co2net") + delimited(2, path.read_bytes())
    whole = path.with_name("flow.onnx")
    whole.write_bytes(delimited(7, b"") + delimited(14, entry))
    read_backbone_contract(whole)


def _extraction(folder: Path) -> bytes:
    from co2net_runtime.options import SnippetTiming
    from co2net_runtime.video.identity import Extraction, StreamIdentity

    rgb = StreamIdentity("i3d", "unknown", "0" * 64, 1024, "float")
    return json.dumps(Extraction(rgb, None, SnippetTiming(), 256, 224).to_mapping()).encode()


def _read_extraction(path: Path) -> None:
    from co2net_runtime.video.identity import read_extraction

    read_extraction(path.parent)


def _video(folder: Path) -> bytes:
    import av

    path = folder / "made.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(12):
            image = rng.integers(0, 256, (32, 48, 3), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path.read_bytes()


def _read_video(path: Path) -> None:
    from co2net_runtime.video.decode import VideoReader

    with VideoReader(path) as video:
        for number, frame in enumerate(video):
            assert number < 10_000
            del frame


# --- live


def _pool() -> Any:
    from co2net_runtime.live.pool import LivePool

    return LivePool.load(DATA / "tiny.live.onnx")


def _state(folder: Path) -> bytes:
    out = io.BytesIO()
    pool = _pool()
    pool.push({"door": rows(30)})
    np.savez(out, **pool.state())
    pool.close()
    return out.getvalue()


_OPEN: list[Any] = []  # one model for all inputs


def _read_state(path: Path) -> None:
    from co2net_runtime.live.state_file import StateFile

    if not _OPEN:
        _OPEN.append(_pool())
    arrays = StateFile(path, 5.0, print).load()
    assert arrays is not None
    _OPEN[0].restore(arrays)
    _OPEN[0].push({"door": rows(3)})
    _OPEN[0].flush("door")


def _blocks(folder: Path) -> bytes:
    return b"".join(npy(rows(n)) for n in (3, 1, 5))


def _read_stream(path: Path) -> None:
    from co2net_runtime.live.block_parser import BlockParser

    parser = BlockParser(DIM)
    data = path.read_bytes()
    taken = sum(
        0 if arrival.rows is None else len(arrival.rows)
        for start in range(0, len(data), 97)
        for arrival in parser.feed(data[start : start + 97])
    )
    # no snippet comes from nowhere
    assert taken <= len(data) // (4 * DIM) + 1
    parser.unfinished()


RUNTIME_READERS = (
    Reader("features-npy", "clip.npy", lambda _: npy(rows()), NPY, _read_features),
    Reader("features-npz", "clip.npz", _features_npz, ZIP, _read_features),
    Reader("list", "files.txt", text_file("a.npy\nfolder/b.npz\n"), LINES, _read_list),
    Reader("model", "model.onnx", _tiny, damage, _read_model),
    Reader("contract", "contract.json", _contract_text, TEXT, _read_contract_text),
    Reader("ground-truth", "truth.json", json_file(ANNOTATIONS), TEXT, _read_pictured),
    Reader("results", "predictions.json", json_file(RESULTS), TEXT, _read_results),
    *(
        Reader(f"earlier-{k}", f"out.{k}", _earlier(k), TEXT, _read_earlier(k))
        for k in ("json", "jsonl", "csv")
    ),
    Reader("pages", "a.html", _timeline_page, LINES, _read_index),
    Reader("manifest", "manifest.json", json_file(_IDENTITY), TEXT, _read_manifest),
    Reader("shard", "shard-000000.jsonl", text_file(_SHARD), LINES, _read_shard),
    Reader("engine-record", "model.engine.json", _engine_record, TEXT, _read_engine_record),
    Reader("backbone", "contract.json", json_file(_BACKBONE), TEXT, _read_backbone),
    Reader("extraction", "extraction.json", _extraction, TEXT, _read_extraction),
    Reader("video", "clip.mp4", _video, damage, _read_video),
    Reader("state", "state.npz", _state, ZIP, _read_state),
    Reader("stream", "stream.bin", _blocks, NPY, _read_stream),
)
