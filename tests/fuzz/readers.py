"""Every reader of a user's file: what it reads when nothing is wrong, how that is damaged."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract, read_graph, read_metadata
from co2net_runtime.artefact.wire_format import delimited
from co2net_runtime.errors import InputError
from co2net_runtime.features import find_feature_files
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


def _features_npz(folder: Path) -> bytes:  # noqa: ARG001
    out = io.BytesIO()
    np.savez_compressed(out, features=_rows())
    return out.getvalue()


def _read_features(path: Path) -> None:
    for file in find_feature_files([path]):
        file.read(DIM)


# --- artefacts


def _tiny(folder: Path) -> bytes:  # noqa: ARG001
    return (DATA / "tiny.onnx").read_bytes()


def _contract_text(folder: Path) -> bytes:  # noqa: ARG001
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
    return lambda folder: json.dumps(document, indent=1).encode()


def _read_annotations(path: Path) -> None:
    from co2net.data.annotations import read_annotations

    read_annotations(path)


def _read_pictured(path: Path) -> None:
    from co2net_runtime.output.pictures import read_ground_truth

    read_ground_truth(path)


def _read_results(path: Path) -> None:
    from co2net_runtime.detections import read_results

    read_results(path, ("Jump", "Throw"))


def _earlier(kind: str) -> Callable[[Path], bytes]:
    def original(folder: Path) -> bytes:
        from co2net_runtime.output.formats import make_format

        form = make_format(kind, ("Jump", "Throw"))
        parts = [form.head()]
        for number, (video, records) in enumerate(RESULTS["results"].items()):
            parts.append(form.video(video, records, first=number == 0))
        return "".join([*parts, form.tail()]).encode()

    return original


def _read_earlier(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from co2net_runtime.output.formats import make_format
        from co2net_runtime.output.sinks import open_sink

        sink = open_sink(str(path), kind, make_format(kind, ("Jump", "Throw")), resume=True)
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


def _read_pickled(path: Path) -> None:
    from co2net.data.safe_pickle import load_npy

    load_npy(path)


# --- training


def _checkpoint(folder: Path) -> bytes:
    import torch

    from co2net.checkpoint import Checkpoint
    from co2net.config import ModelConfig
    from co2net.model import CO2Net

    torch.manual_seed(0)
    config = ModelConfig(rgb_dim=8, flow_dim=8)
    model = CO2Net(config, 2)
    path = folder / "made.ckpt"
    Checkpoint.of(model, ("Jump", "Throw")).save(path)
    return path.read_bytes()


def _read_checkpoint(path: Path) -> None:
    from co2net.checkpoint import Checkpoint

    Checkpoint.load(path)


def _read_published(path: Path) -> None:
    from co2net.checkpoint import Checkpoint

    Checkpoint.from_published(path, ("Jump", "Throw"))


def _config(folder: Path) -> bytes:  # noqa: ARG001
    from co2net.config import PRESETS
    from co2net.settings import dump_config

    return dump_config(PRESETS["thumos14"]).encode()


def _read_config(path: Path) -> None:
    from co2net.config import PRESETS
    from co2net.settings import read_config

    read_config(path, PRESETS["thumos14"])


# --- benchmarks


def _run_file(folder: Path) -> bytes:  # noqa: ARG001
    raise NotImplementedError


# --- live


def _state(folder: Path) -> bytes:  # noqa: ARG001
    out = io.BytesIO()
    with _pool() as pool:
        pool.push({"door": _rows(30)})
        np.savez(out, **pool.state())
    return out.getvalue()


def _pool() -> Any:
    from co2net_runtime import EngineOptions, LivePool

    return LivePool.load(DATA / "tiny.onnx", EngineOptions(device="cpu", threads=1))


_NPY = mix(npy_header, damage)
_ZIP = mutators.zip_member(_NPY)
_TEXT = mix(json_tree, swap_tokens, damage)
_YAML = mix(swap_tokens, damage)

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
        )
    }
)
