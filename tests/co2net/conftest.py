"""A dataset small enough to train on in seconds: three classes, 6 + 10 channels."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

SETTINGS = [
    "model.attention_dim=8", "model.embed_dim=24", "model.dropout=0.2", "max_snippets=20",
    "learning_rate=0.005", "evaluate_every=0", "checkpoint_every=20", "iterations=30",
]  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The dataset's folder, the settings that suit it, and the options that set them."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_data(folder)
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return SimpleNamespace(folder=folder, settings=SETTINGS, options=options)


@pytest.fixture
def one_thread():
    """Tiny networks lose their time waiting for the second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_tiny_data(folder, classes=("jump", "run", "swim"), per_class=5):
    random = np.random.default_rng(3)
    (folder / "features").mkdir()
    database = {}
    for number in range(len(classes) * per_class + 6):
        subset = "train" if number < len(classes) * per_class else "test"
        label = number % len(classes)
        length = int(random.integers(15, 40))
        features = np.abs(0.3 * random.standard_normal((length, 16)))
        segments = []
        for start in (2, length // 2):
            features[start : start + 4, label * 2 : label * 2 + 2] += 1.5
            features[start : start + 4, 6 + label * 3 : 9 + label * 3] += 1.5
            segments.append([start * 0.64, (start + 4) * 0.64])
        name = f"video{number:02}"
        np.save(folder / "features" / f"{name}.npy", features.astype(np.float32))
        database[name] = {
            "subset": subset,
            "duration": length * 0.64,
            "annotations": [{"segment": s, "label": classes[label]} for s in segments],
        }
    document = {"database": database, "classes": list(classes)}
    document["streams"] = {"rgb_dim": 6, "flow_dim": 10}
    (folder / "annotations.json").write_text(json.dumps(document))
