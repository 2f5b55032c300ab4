"""Writes the tiny artefacts of this folder, which the runtime's tests run without torch and onnx.

    python tests/runtime/data/make_tiny.py

They come from co2net-export and a tiny model with fixed random weights. tiny.npz holds features
of a few videos and what the PyTorch model says of them; tests/export/test_tiny.py checks that all
of it is what the exporter writes today.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from co2net.checkpoint import Checkpoint
from co2net.config import ModelConfig
from co2net.data.dataset import open_dataset
from co2net.model import CO2Net
from co2net_export.export import Exporter
from co2net_export.graph.session import open_session
from co2net_export.parity.gate import Gate
from co2net_export.parity.parity import run_video
from co2net_export.parity.videos import calibration_split
from co2net_export.precision.options import PRECISIONS, PrecisionOptions
from co2net_runtime.options import SnippetTiming

FOLDER = Path(__file__).parent
LENGTHS = (1, 2, 3, 17, 40)
CLASSES = ("Run", "Jump", "Throw")
POOL_KERNELS = {"tiny": 1, "tiny_pool": 5}


def tiny_checkpoint(pool_kernel: int = 1) -> Checkpoint:
    """Return a model of 3 classes on 6 + 10 channels whose outputs are well spread."""
    config = ModelConfig(
        classes=3,
        rgb_dim=6,
        flow_dim=10,
        attention_dim=4,
        embed_dim=12,
        pool_kernel=pool_kernel,
    )
    rng = np.random.default_rng(7)
    weights = {}
    for name, value in CO2Net(config).state_dict().items():
        scale = 2.0 / np.sqrt(value[0].numel())
        if name.endswith("attention.5.weight"):
            scale *= 8  # the attention crosses all thresholds
        weight = rng.uniform(-scale, scale, tuple(value.shape))
        weights[name] = torch.from_numpy(weight.astype(np.float32))
    return Checkpoint(
        model=config,
        classes=CLASSES,
        weights=weights,
        timing=SnippetTiming(),
        provenance={"source": "tests"},
    )


def tiny_videos() -> dict[str, np.ndarray]:
    """Return features (T, 16) float32 by name, non-negative as I3D's are."""
    rng = np.random.default_rng(11)
    return {
        f"video_{length}": np.abs(rng.standard_normal((length, 16))).astype(np.float32)
        for length in LENGTHS
    }


def write_dataset(folder: Path, training: int = 12, test: int = 6) -> None:
    """Write a dataset of random features and random annotations that fits the tiny model."""
    rng = np.random.default_rng(13)
    (folder / "features").mkdir(parents=True)
    database = {}
    for number in range(training + test):
        length = int(rng.integers(20, 60))
        name = f"video_{number:02d}"
        features = np.abs(rng.standard_normal((length, 16))).astype(np.float32)
        np.save(folder / "features" / f"{name}.npy", features)
        start = float(rng.integers(0, length - 10))
        label = CLASSES[number % len(CLASSES)]
        database[name] = {
            "subset": "training" if number < training else "validation",
            "duration": length * 0.64,
            "annotations": [{"segment": [start * 0.64, (start + 8) * 0.64], "label": label}],
        }
    streams = {"rgb_dim": 6, "flow_dim": 10}
    document = {"database": database, "streams": streams}
    (folder / "annotations.json").write_text(json.dumps(document), encoding="utf-8")


def write(folder: Path) -> None:
    """Write {tiny,tiny_pool}{.onnx,.chunk.onnx,.live.onnx}, tiny_cpu.onnx and tiny.npz.

    And tiny in the lower precisions, tiny.{fp16,int8-cpu,int8-trt}{.onnx,.chunk.onnx}, with what
    they say of the longest video in ONNX Runtime.
    """
    arrays = {f"{name}_features": features for name, features in tiny_videos().items()}
    for name, pool_kernel in POOL_KERNELS.items():
        checkpoint = tiny_checkpoint(pool_kernel)
        exporter = Exporter(checkpoint, checkpoint_sha256="0" * 64, quiet=True)
        exporter.write(folder / f"{name}.onnx", chunks=True, live=True, overwrite=True)
        if name == "tiny":
            exporter.write(folder / "tiny_cpu.onnx", optimize="cpu", overwrite=True)
        model = checkpoint.build()
        for video, features in tiny_videos().items():
            with torch.inference_mode():
                outputs = model(torch.from_numpy(features)[None])
            arrays[f"{name}_{video}_cas"] = outputs.cas[0].numpy()
            arrays[f"{name}_{video}_attention"] = outputs.attention[0].numpy()
    arrays.update(write_precisions(folder))
    np.savez_compressed(folder / "tiny.npz", **arrays)
    for card in folder.glob("tiny*.md"):
        card.unlink()


def write_precisions(folder: Path) -> dict[str, np.ndarray]:
    """Write the tiny model in the lower precisions; return what they say of the longest video."""
    video = f"video_{LENGTHS[-1]}"
    features = tiny_videos()[video]
    arrays = {}
    with TemporaryDirectory() as data:
        write_dataset(Path(data))
        dataset = open_dataset(data)
        exporter = Exporter(
            tiny_checkpoint(),
            checkpoint_sha256="0" * 64,
            dataset=dataset,
            split=calibration_split(dataset),
            quiet=True,
        )
        # random weights have no say in what they were never trained for: their decisions are loose
        gate = Gate(segments=0.5)
        for precision in PRECISIONS[1:]:
            path = folder / f"tiny.{precision}.onnx"
            options = PrecisionOptions(precision)
            exporter.write(path, options, gate=gate, chunks=True, overwrite=True)
            outputs = run_video(open_session(path), features)
            arrays[f"tiny.{precision}_{video}_cas"] = outputs.cas
            arrays[f"tiny.{precision}_{video}_attention"] = outputs.attention[:, None]
    return arrays


if __name__ == "__main__":
    write(FOLDER)
