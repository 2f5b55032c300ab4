"""Writes the models that co2net-doctor --selftest runs where the user brings none.

    python tests/export/make_selftest.py

A small model with fixed random weights in every precision, made by the exporter's own steps, and
what PyTorch says of its features: a machine without ONNX Runtime has that to compare with.
tests/export/test_selftest_models.py checks that they are what the exporter writes today.
"""

from pathlib import Path

import numpy as np
import onnx
import torch

from co2net.checkpoint import Checkpoint
from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_export.export import dynamic_axes, receptive_field
from co2net_export.graph.convert import DEFAULT_OPSET, convert, input_names
from co2net_export.graph.write import set_contract, versions, write_model
from co2net_export.precision.options import PRECISIONS, PrecisionOptions, calibrate, lower
from co2net_runtime.artefact.contract import Contract, GraphKind, Precision
from co2net_runtime.diagnostics.selftest import FOLDER, LENGTHS, synthetic_features

CONFIG = ModelConfig(classes=5, rgb_dim=24, flow_dim=24, attention_dim=16, embed_dim=48)


def selftest_checkpoint() -> Checkpoint:
    """Return a model whose outputs are well spread."""
    rng = np.random.default_rng(5)
    weights = {}
    for name, value in CO2Net(CONFIG).state_dict().items():
        scale = 2.0 / np.sqrt(value[0].numel())
        if name.endswith("attention.5.weight"):
            scale *= 6  # the attention crosses all thresholds
        weight = rng.uniform(-scale, scale, tuple(value.shape))
        weights[name] = torch.from_numpy(weight.astype(np.float32))
    classes = ("Run", "Jump", "Throw", "Swim", "Climb")
    return Checkpoint(
        model=CONFIG, classes=classes, weights=weights, provenance={"source": "selftest"}
    )


def write(folder: Path) -> None:
    """Write {fp32,fp16,int8-cpu,int8-trt}.onnx, fp16.chunk.onnx and expected.npz into `folder`."""
    checkpoint = selftest_checkpoint()
    model = checkpoint.build()
    fp32, chunk = convert(model), convert(model, kind="chunk")
    videos = [synthetic_features(length, CONFIG.feature_dim) for length in LENGTHS]
    for precision in PRECISIONS:
        options = PrecisionOptions(precision)
        ranges = calibrate(fp32, options, videos) if options.quantized else {}
        write_graph(lower(fp32, options, ranges), folder / f"{precision}.onnx", precision, "whole")
    half = lower(chunk, PrecisionOptions("fp16"))
    write_graph(half, folder / "fp16.chunk.onnx", "fp16", "chunk")
    arrays = {}
    for length, features in zip(LENGTHS, videos, strict=True):
        with torch.inference_mode():
            outputs = model(torch.from_numpy(features)[None])
        arrays[f"cas_{length}"] = outputs.cas[0].numpy()
        arrays[f"attention_{length}"] = outputs.attention[0, :, 0].numpy()
    np.savez_compressed(folder / "expected.npz", **arrays)


def write_graph(graph: onnx.ModelProto, path: Path, precision: Precision, kind: GraphKind) -> None:
    """Write one graph with its contract."""
    contract = Contract(
        classes=selftest_checkpoint().classes,
        rgb_dim=CONFIG.rgb_dim,
        flow_dim=CONFIG.flow_dim,
        opset=DEFAULT_OPSET,
        checkpoint_sha256="0" * 64,
        receptive_field=receptive_field(CONFIG),
        precision=precision,
        graph=kind,
        inputs=input_names(kind),
        dynamic_axes=dynamic_axes(graph),
        versions=versions(),
    )
    set_contract(graph, contract)
    write_model(graph, path, external_data=False)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER)
