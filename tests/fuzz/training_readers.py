"""The readers of training and benchmarks: bundles, checkpoints, weights, settings, runs."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from co2net_runtime.files.records import to_mapping
from co2net_runtime.options import SnippetTiming
from tests.fuzz.mutators import mix
from tests.fuzz.reader import (
    ANNOTATIONS,
    LINES,
    NPY,
    PICKLE,
    TEXT,
    TORCH,
    Reader,
    json_file,
    npy,
    text_file,
)  # fmt: skip

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
            (folder / f"{name}.npy").write_bytes(npy(array, allow_pickle=True))
        (folder / "Ambiguous_test.txt").write_text("video_b  1.0  2.0\n")
        return (folder / member).read_bytes()

    return original


def _read_bundle(path: Path) -> None:
    from co2net.data.bundle import read_bundle_annotations

    read_bundle_annotations(path.parent)


# --- annotations

_LABEL_STUDIO = [
    {
        "data": {"video": "/a/clip.mp4", "name": "clip", "fps": 25},
        "annotations": [
            {
                "result": [
                    {
                        "type": "timelinelabels",
                        "value": {
                            "ranges": [{"start": 1, "end": 50}],
                            "timelinelabels": ["Jump"],
                        },
                    }
                ]
            }
        ],
    }
]
_VIA = {
    "project": {"vid_list": ["1"]},
    "config": {},
    "attribute": {"1": {"aname": "action", "anchor_id": "FILE1_Z2_XY0", "type": 1, "options": {}}},
    "file": {"1": {"fid": "1", "fname": "clip.mp4", "type": 4}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {"m": {"vid": "1", "z": [1.0, 2.5], "xy": [], "av": {"1": "Jump"}}},
}
_EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2500"/></TIME_ORDER>
<TIER TIER_ID="Jump" LINGUISTIC_TYPE_REF="action"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>Jump</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>
"""


def _read_annotations(path: Path) -> None:
    from co2net.data.annotations import read_annotations

    read_annotations(path)


def _read_classes(path: Path) -> None:
    from co2net.data.annotations import read_class_list

    read_class_list(path)


# --- training


def _tiny() -> Any:
    """Return a network so small that damage meets the file's structure, not its numbers."""
    import torch

    from co2net.config import ModelConfig
    from co2net.model import CO2Net

    torch.manual_seed(0)
    return CO2Net(ModelConfig(attention_dim=4, embed_dim=8, classes=2, rgb_dim=2, flow_dim=2))


def _checkpoint(folder: Path) -> bytes:
    from co2net.checkpoint import Checkpoint

    model, path = _tiny(), folder / "made.ckpt"
    Checkpoint(model.config, ("Jump", "Throw"), model.state_dict()).save(path)
    return path.read_bytes()


def _read_checkpoint(path: Path) -> None:
    from co2net.checkpoint import Checkpoint

    Checkpoint.load(path)


def _state_dict(folder: Path) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(_tiny().state_dict(), out)
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


def _run_folder(folder: Path) -> Any:
    from co2net.training.run_folder import RunFolder

    (folder / "config.yaml").write_bytes(_config(folder))
    return RunFolder(folder)


_SCORES = {
    "subset": "test", "protocol": "co2net", "tious": [0.5], "map": [0.1],
    "averages": {"all": 0.1}, "classification_map": 0.5,
}  # fmt: skip
_HELD_OUT = {"classification_map": 0.75, "loss": 2.5, "videos": 2}
_EVALUATION = {"iteration": 4, "evaluated": True, "detection": _SCORES, "holdout": _HELD_OUT}


def _metrics(folder: Path) -> bytes:
    _run_folder(folder)
    lines = [json.dumps({"iteration": n, "total": 1.5 / n}) for n in range(1, 5)]
    return "\n".join([*lines, json.dumps(_EVALUATION), ""]).encode()


def _summary(folder: Path) -> bytes:
    _run_folder(folder)
    return json.dumps({"runs": [{"best": _EVALUATION}]}).encode()


def _read_run_folder(path: Path) -> None:
    from co2net.results.side_by_side import read_training_run, side_by_side
    from co2net.training.best import undecided_note

    run = read_training_run(path.parent)
    side_by_side([run])
    undecided_note(_run_folder(path.parent).read_metrics())


def _manager(folder: Path) -> Any:
    """Return the checkpoints of a run of a tiny network, and its sampler."""
    import torch

    from co2net.config import TrainConfig
    from co2net.training.checkpoints import CheckpointManager
    from co2net.training.distributed import ProcessGroup
    from co2net.training.sampling import BatchSampler
    from co2net.training.train_step import Trainer

    config = TrainConfig(iterations=5, singles=1, pairs=0)
    group = ProcessGroup(torch.device("cpu"))
    dataset = SimpleNamespace(
        classes=("Jump", "Throw"), timing=SnippetTiming(), path=folder, extraction=None
    )
    data: Any = SimpleNamespace(dataset=dataset)
    trainer = Trainer(_tiny().config, config, group)
    manager = CheckpointManager(data, config, _run_folder(folder), group, trainer, "0" * 64)
    sampler = BatchSampler([[1, 0]], [9], seed=0, max_snippets=4, pairs=0, singles=1)
    return manager, sampler


def _last(folder: Path) -> bytes:
    from co2net.training.checkpoints import RunState
    from co2net.training.resume_state import Position

    manager, sampler = _manager(folder)
    position = Position.of(sampler.state(), manager.group.device)
    manager.save_last(RunState(3, position, None))
    found: bytes = manager.run.last.read_bytes()
    return found


def _read_last(path: Path) -> None:
    manager, sampler = _manager(path.parent)
    manager.start(sampler)


# --- benchmarks


def _run(folder: Path) -> bytes:
    from co2net_benchmarks.hardware.machine import describe_machine
    from co2net_benchmarks.latency.offline import OfflineResult
    from co2net_benchmarks.latency.run import LatencyResults
    from co2net_benchmarks.latency.single_stream import ColdStart, LengthResult
    from co2net_benchmarks.run_file import Run, now
    from co2net_benchmarks.runners.runner import RunnerInfo
    from co2net_benchmarks.timing import Interval, summarize

    time, flat = summarize([0.1, 0.2]), Interval(1.0, 1.0, 1.0)
    stages = dict.fromkeys(("read", "network", "decode", "total"), time)
    turns = ((0.1, 0.2),)
    results = LatencyResults(
        (RunnerInfo("a.onnx", "runtime", "a.onnx", 5_000_000, "measured", engine="e"),),
        0.64,
        {"numpy": 3e11},
        (LengthResult("a.onnx", 50, stages, flat, flat, 9, 10**8, 0.0, turns),),
        (ColdStart("a.onnx", 50, 0.1, 0.2, 0.1, 0.02, time, 1),),
        (OfflineResult("a.onnx", 3, 600, 1.0, flat, 384, flat, 9, 1),),
    )
    command = ("co2net-bench", "latency")
    run = Run("latency", now(), command, describe_machine(), {}, to_mapping(results))
    return run.to_json().encode()


def _read_run(path: Path) -> None:
    from co2net_benchmarks.latency.tables import latency_tables
    from co2net_benchmarks.report.compare_runs import compare_runs
    from co2net_benchmarks.report.report import Report
    from co2net_benchmarks.run_file import read_runs

    report = Report(read_runs(path))
    report.sections()
    for results in report.latency:
        for table in latency_tables(results):
            table.to_markdown()
    compare_runs(report.latency, report.latency, 0.1)


TRAINING_READERS = (
    Reader("annotations", "annotations.json", json_file(ANNOTATIONS), TEXT, _read_annotations),
    Reader("label-studio", "tasks.json", json_file(_LABEL_STUDIO), TEXT, _read_annotations),
    Reader("via", "project.json", json_file(_VIA), TEXT, _read_annotations),
    Reader("elan", "clip.eaf", text_file(_EAF), LINES, _read_annotations),
    Reader("classes", "classes.txt", text_file("Jump\nThrow\n"), LINES, _read_classes),
    *(
        Reader(f"bundle-{k}", f"{k}.npy", _bundle(f"{k}.npy"), mix(NPY, PICKLE), _read_bundle)
        for k in ("videoname", "segments", "labels", "duration")
    ),
    Reader("bundle-ambiguous", "Ambiguous_test.txt", _bundle("Ambiguous_test.txt"), LINES,
           _read_bundle),
    Reader("checkpoint", "model.ckpt", _checkpoint, TORCH, _read_checkpoint),
    Reader("published", "co2.pkl", _state_dict, TORCH, _read_published),
    Reader("resume", "last.ckpt", _last, TORCH, _read_last),
    Reader("weights", "rgb.pt", _weights, TORCH, _read_weights),
    Reader("nested-weights", "rgb.ckpt", _nested_weights, PICKLE, _read_weights),
    Reader("config", "config.yaml", _config, LINES, _read_config),
    Reader("metrics", "metrics.jsonl", _metrics, TEXT, _read_run_folder),
    Reader("summary", "summary.json", _summary, TEXT, _read_run_folder),
    Reader("run", "run.json", _run, TEXT, _read_run),
)  # fmt: skip
