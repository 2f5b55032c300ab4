"""Every reader of a user's file: what it reads when nothing is wrong, how that is damaged."""

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract, read_graph, read_metadata
from co2net_runtime.artefact.wire_format import delimited
from co2net_runtime.feature_files import find_feature_files
from tests.fuzz import mutators
from tests.fuzz.mutators import Mutator, damage, json_tree, mix, npy_header, swap_tokens

DATA = Path(__file__).parents[1] / "runtime" / "data"
DIM = 16


@dataclass(frozen=True)
class Reader:
    """A way into the program."""

    name: str
    file: str  # the name that a user's file would have
    original: Callable[[Path], bytes]  # an untouched file; the folder is for what lies beside it
    mutate: Mutator
    read: Callable[[Path], Any]


def _npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def _rows(count: int = 20) -> Any:
    return np.random.default_rng(count).random((count, DIM), np.float32)


def _features_npz(folder: Path) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, features=_rows())
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

ANNOTATIONS = {
    "version": "1",
    "classes": ["Jump", "Throw"],
    "database": {
        "a": {
            "subset": "training",
            "duration": 61.4,
            "fps": 25.0,
            "annotations": [{"segment": [3.2, 9.6], "label": "Jump"}],
        },
        "b": {
            "subset": "test",
            "duration": 30,
            "annotations": [
                {"segment": [0, 5], "label": "Throw"},
                {"segment": ["1.5", "2.5"], "label": "Jump"},
            ],
        },
    },
}
RESULTS = {
    "version": "co2net",
    "results": {
        "a": [{"label": "Jump", "score": 1.5, "segment": [3.2, 9.6]}],
        "b": [{"label": "Throw", "score": -0.5, "segment": [0.0, 1.28]}],
    },
    "external_data": {},
}


def _json(document: Any) -> Callable[[Path], bytes]:
    return lambda _: json.dumps(document, indent=1).encode()


def _read_annotations(path: Path) -> None:
    from co2net.data.annotations import read_annotations

    read_annotations(path)


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


# --- the published bundle


def _objects(*values: Any) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array


BUNDLE = {
    "videoname": np.array([b"video_a", b"video_b"]),
    "subset": np.array([b"validation", b"test"]),
    "classlist": np.array([b"Jump", b"Throw"]),
    "duration": np.array([61.4, 30.0]),
    "segments": _objects([[3.2, 9.6]], [[0.0, 5.0], [1.5, 2.5]]),
    "labels": _objects(["Jump"], ["Throw", "Jump"]),
    "labels_all": _objects(["Jump"], ["Throw", "Jump"]),
}


def _bundle(member: str) -> Callable[[Path], bytes]:
    def original(folder: Path) -> bytes:
        for name, array in BUNDLE.items():
            (folder / f"{name}.npy").write_bytes(_npy(array, allow_pickle=True))
        (folder / "Ambiguous_test.txt").write_text("video_b  1.0  2.0\n")
        return (folder / member).read_bytes()

    return original


def _read_bundle(path: Path) -> None:
    from co2net.data.bundle import read_bundle_annotations

    read_bundle_annotations(path.parent)


# --- training


def _checkpoint(folder: Path) -> bytes:
    import torch

    from co2net.checkpoint import Checkpoint
    from co2net.config import ModelConfig
    from co2net.model import CO2Net

    torch.manual_seed(0)
    config = ModelConfig(classes=2, rgb_dim=2, flow_dim=2)
    path = folder / "made.ckpt"
    Checkpoint(config, ("Jump", "Throw"), CO2Net(config).state_dict()).save(path)
    return path.read_bytes()


def _read_checkpoint(path: Path) -> None:
    from co2net.checkpoint import Checkpoint

    Checkpoint.load(path)


def _state_dict(folder: Path) -> bytes:
    import torch

    from co2net.config import ModelConfig
    from co2net.model import CO2Net

    out = io.BytesIO()
    torch.save(CO2Net(ModelConfig(classes=2, rgb_dim=2, flow_dim=2)).state_dict(), out)
    return out.getvalue()


def _read_published(path: Path) -> None:
    from co2net.checkpoint import Checkpoint

    Checkpoint.from_published(path, classes=("Jump", "Throw"))


def _weights(folder: Path) -> bytes:
    import torch

    from co2net.backbone.i3d import I3D

    out = io.BytesIO()
    torch.save(I3D(channels=3, classes=2, divisor=32).state_dict(), out)
    return out.getvalue()


def _nested_weights(folder: Path) -> bytes:
    """One layer in nested dicts, as JAX programs leave them; refused even when untouched."""
    layer: dict[str, Any] = {"kernel": np.ones((1, 1, 1, 4, 4), np.float32)}
    layer["bias"] = layer["kernel"][0, 0, 0, 0]
    tree = {"Logits": {"Conv3d_0c_1x1": {"Conv_0": layer}}}
    return pickle.dumps({"params": tree, "batch_stats": tree})


def _read_weights(path: Path) -> None:
    from co2net.backbone.weights import read_weights

    read_weights(path, "rgb")


def _config(folder: Path) -> bytes:
    from co2net.config import PRESETS
    from co2net.settings import dump_config

    return dump_config(PRESETS["thumos14"]).encode()


def _read_config(path: Path) -> None:
    from co2net.config import PRESETS
    from co2net.settings import read_config

    read_config(path, PRESETS["thumos14"])


METRICS = "\n".join(
    json.dumps({"iteration": n, "loss": 1.5 / n, "evaluated": n == 4, "map": [0.1, 0.2]})
    for n in range(1, 5)
)


def _read_metrics(path: Path) -> None:
    from co2net.training.run_folder import RunFolder

    RunFolder(path.parent).read_metrics()


# --- benchmarks


def _run(folder: Path) -> bytes:
    from co2net_benchmarks.hardware.machine import describe_machine
    from co2net_benchmarks.run_file import Run, now

    results = {"map": [0.1, 0.2, None], "classes": {"Jump": 0.5}}
    run = Run("accuracy", now(), ("co2net-bench", "accuracy"), describe_machine(), {}, results)
    return run.to_json().encode()


def _read_run(path: Path) -> None:
    from co2net_benchmarks.run_file import read_runs

    read_runs(path)


# --- videos


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
    pool.push({"door": _rows(30)})
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
    _OPEN[0].push({"door": _rows(3)})
    _OPEN[0].flush("door")


def _blocks(folder: Path) -> bytes:
    return b"".join(_npy(_rows(n)) for n in (3, 1, 5))


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


_NPY = mix(npy_header, damage)
_ZIP = mutators.zip_member(_NPY)
_TEXT = mix(json_tree, swap_tokens, damage)
_YAML = mix(swap_tokens, damage)
_PICKLE = mix(mutators.pickle_codes, damage)
_BUNDLE = mix(_NPY, _PICKLE)
_TORCH = mutators.zip_member(mix(_PICKLE, damage))

READERS = MappingProxyType(
    {
        reader.name: reader
        for reader in (
            Reader("features-npy", "clip.npy", lambda _: _npy(_rows()), _NPY, _read_features),
            Reader("features-npz", "clip.npz", _features_npz, _ZIP, _read_features),
            Reader("model", "model.onnx", _tiny, damage, _read_model),
            Reader("contract", "contract.json", _contract_text, _TEXT, _read_contract_text),
            Reader("annotations", "annotations.json", _json(ANNOTATIONS), _TEXT, _read_annotations),
            Reader("ground-truth", "truth.json", _json(ANNOTATIONS), _TEXT, _read_pictured),
            Reader("results", "predictions.json", _json(RESULTS), _TEXT, _read_results),
            *(
                Reader(f"earlier-{k}", f"out.{k}", _earlier(k), _TEXT, _read_earlier(k))
                for k in ("json", "jsonl", "csv")
            ),
            *(
                Reader(f"bundle-{k}", f"{k}.npy", _bundle(f"{k}.npy"), _BUNDLE, _read_bundle)
                for k in ("videoname", "segments", "labels", "duration")
            ),
            Reader("bundle-ambiguous", "Ambiguous_test.txt", _bundle("Ambiguous_test.txt"), _YAML,
                   _read_bundle),
            Reader("checkpoint", "model.ckpt", _checkpoint, _TORCH, _read_checkpoint),
            Reader("published", "co2.pkl", _state_dict, _TORCH, _read_published),
            Reader("weights", "rgb.pt", _weights, _TORCH, _read_weights),
            Reader("nested-weights", "rgb.ckpt", _nested_weights, _PICKLE, _read_weights),
            Reader("config", "config.yaml", _config, _YAML, _read_config),
            Reader("metrics", "metrics.jsonl", lambda _: METRICS.encode(), _TEXT, _read_metrics),
            Reader("run", "run.json", _run, _TEXT, _read_run),
            Reader("extraction", "extraction.json", _extraction, _TEXT, _read_extraction),
            Reader("video", "clip.mp4", _video, damage, _read_video),
            Reader("state", "state.npz", _state, _ZIP, _read_state),
            Reader("stream", "stream.bin", _blocks, _NPY, _read_stream),
        )
    }
)  # fmt: skip
