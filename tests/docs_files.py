"""The files that the documentation's commands name, in small."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from small_video import write_backbone, write_video

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_runtime.options import SnippetTiming

TESTS = Path(__file__).parent
TINY = TESTS / "runtime" / "data"
PUBLISHED = ModelConfig(classes=20, attention_dim=8, embed_dim=16)


def prepare(folder):
    """Write them into `folder`."""
    tiny = _load(TINY / "make_tiny.py")
    checkpoint = tiny.tiny_checkpoint()
    for run, stride, fps in (("run", 16, 25.0), ("runs/mine", 8, 30.0)):
        (folder / run).mkdir(parents=True)
        timed = replace(checkpoint, timing=SnippetTiming(snippet_frames=stride, fps=fps))
        timed.save(folder / run / "best.ckpt")
    for kind in ("onnx", "chunk.onnx", "live.onnx", "fp16.onnx", "int8-cpu.onnx"):
        shutil.copy(TINY / f"tiny.{kind}", folder / f"model.{kind}")
    for data in ("data", "mine"):
        tiny.write_dataset(folder / data, training=12, test=4)
    shutil.copytree(folder / "data" / "features", folder / "features")
    names = sorted(path.name for path in (folder / "features").iterdir())
    (folder / "files.txt").write_text("".join(f"features/{name}\n" for name in names))
    camera = np.concatenate([np.load(path) for path in sorted((folder / "features").glob("*"))])
    camera.tofile(folder / "camera.raw")
    (folder / "archive").mkdir()
    np.save(folder / "archive" / "ten-hours.npy", camera)
    _other_layouts(folder)
    _published(folder)
    _videos(folder)


def _other_layouts(folder):
    """ActionFormer's and OpenTAD's files, BaSNet's folders, as links to `data`."""
    database = json.loads((folder / "data" / "annotations.json").read_text())
    (folder / "thumos").mkdir()
    (folder / "thumos" / "thumos14.json").write_text(json.dumps(database))
    shutil.copytree(folder / "data" / "features", folder / "thumos" / "i3d_features")
    for path in sorted((folder / "data" / "features").glob("*.npy")):
        features = np.load(path)
        subset = database["database"][path.stem]["subset"]
        subset = {"training": "train", "validation": "test"}[subset]
        for stream, part in (("rgb", features[:, :6]), ("flow", features[:, 6:])):
            target = folder / "basnet" / "features" / subset / stream
            target.mkdir(parents=True, exist_ok=True)
            np.save(target / path.name, part)
    shutil.copy(folder / "thumos" / "thumos14.json", folder / "basnet" / "gt.json")


def _published(folder):
    """State dicts as the published program saves them, its feature bundle, its features."""
    torch.manual_seed(0)
    weights = dict(CO2Net(PUBLISHED).state_dict())
    weights["feat_encoder.0.weight"] = torch.zeros(4, 4, 3)  # the encoder that never acts
    for name in ("co2.pkl", "ant_co2.pkl"):
        torch.save(weights, folder / name)
    (folder / "classes.txt").write_text("\n".join(f"Class{c:02d}" for c in range(20)))
    (folder / "published").mkdir()
    _load(TESTS / "golden" / "inputs.py").write_toy_bundle(str(folder / "published"))
    rng = np.random.default_rng(1)
    (folder / "published-features").mkdir()
    for name in ("video_test_0000060", "video_test_0000061"):  # two of the bundle's test videos
        features = np.abs(rng.standard_normal((40, 2048), np.float32))
        np.save(folder / "published-features" / f"{name}.npy", features)


def _videos(folder):
    """A clip, a folder of clips, and backbones whose features fit `model.onnx`."""
    write_video(folder / "clip.mp4", 100)
    for name in ("a", "b"):
        (folder / "videos").mkdir(exist_ok=True)
        shutil.copy(folder / "clip.mp4", folder / "videos" / f"{name}.mp4")
    write_backbone(folder / "rgb.onnx", "rgb", 6)
    write_backbone(folder / "flow.onnx", "flow", 10)
    np.save(folder / "clip.npy", np.load(folder / "features" / "video_00.npy"))


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
