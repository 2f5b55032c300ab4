"""The files that README's commands name, in small."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch

from co2net.config import ModelConfig
from co2net.model import CO2Net

SMALL = ModelConfig(classes=20, attention_dim=8, embed_dim=16)


def prepare(folder):
    """Write them into `folder`."""
    _published_checkpoints(folder)
    _published_bundle(folder / "published")
    _own_data(folder / "mine", np.random.default_rng(0))
    camera = np.load(folder / "mine" / "features" / "clip0.npy")
    camera.tofile(folder / "camera.raw")


def _published_checkpoints(folder):
    """State dicts as the published program saves them: with the encoder that never acts."""
    torch.manual_seed(0)
    weights = dict(CO2Net(SMALL).state_dict())
    weights["feat_encoder.0.weight"] = torch.zeros(4, 4, 3)
    for name in ("co2.pkl", "ant_co2.pkl"):
        torch.save(weights, folder / name)
    (folder / "classes.txt").write_text("\n".join(f"Class{c:02d}" for c in range(20)))


def _published_bundle(folder):
    path = Path(__file__).parent / "golden" / "inputs.py"
    spec = importlib.util.spec_from_file_location("golden_inputs", path)
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    folder.mkdir()
    golden.write_toy_bundle(str(folder))
    features = folder.parent / "features"
    features.mkdir()
    rng = np.random.default_rng(1)
    # two of the bundle's test videos, as files
    for name in ("video_test_0000060", "video_test_0000061"):
        np.save(features / f"{name}.npy", np.abs(rng.standard_normal((40, 2048), np.float32)))


def _own_data(folder, rng):
    (folder / "features").mkdir(parents=True)
    database = {}
    for index in range(18):
        name, label = f"clip{index}", ("Jump", "Throw")[index % 2]
        length = int(rng.integers(30, 60))
        np.save(folder / "features" / f"{name}.npy", rng.random((length, 12), np.float32))
        database[name] = {
            "subset": "training" if index < 14 else "validation",
            "duration": length * 8 / 30,
            "annotations": [{"segment": [1.0, 4.0], "label": label}],
        }
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
