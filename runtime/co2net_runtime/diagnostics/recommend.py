"""Which file and which engine is fastest here: measured, with what it does to the decisions."""

import glob
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import BackendName
from co2net_runtime.decoding.decisions import Outputs, compare_decisions
from co2net_runtime.diagnostics.probe import Check
from co2net_runtime.diagnostics.selftest import synthetic_features
from co2net_runtime.errors import Co2netError
from co2net_runtime.feature_files import find_feature_files
from co2net_runtime.features import Features
from co2net_runtime.network.network import Network

logger = logging.getLogger(__name__)

# about that long all setups together are measured
BUDGET_S = 10.0
# snippets of a video of about three minutes
LENGTH = 250
# no more than this many videos are judged
_VIDEOS = 8
# a setup that moves a larger share of the segments is not recommended: the export's bound, too
MOST_CHANGED = 0.03
# one that is faster by less than the noise is not worth a change of file
_CLEAR = 1.05


@dataclass
class Setup:
    """One file in one engine."""

    path: Path
    precision: str  # of the file
    backend: BackendName
    bf16: bool = False  # as with --bf16
    seconds: float = 0.0  # of a run of LENGTH snippets
    outputs: list[Outputs] = field(default_factory=list)  # on the videos that are judged
    changed: float = 0.0  # share of the segments that differ from the first setup's

    def __str__(self) -> str:
        engine = "OpenVINO" if self.backend == "openvino" else "ONNX Runtime"
        return f"{self.path.name} ({self.precision}) with {engine}{' --bf16' * self.bf16}"


def recommend(model: Path, options: EngineOptions, features: Path | None = None) -> Check:
    """Measure MODEL and the files beside it that come from the same checkpoint, on the CPU.

    Args:
        model: An ONNX file. MODEL.int8.onnx, MODEL.cpu.onnx, ... beside it are tried, too.
        options: Threads and cache folder.
        features: A feature file or a folder of them, to compare the decisions on.

    Returns:
        The fastest setup that moves no more than 3 % of the segments, how many times the model's
        own in ONNX Runtime, and what it changes.

    Raises:
        InputError: The model or the features cannot be used.
    """
    contract = read_contract(model)
    name = f"fastest for {model.name}"
    judged = _judged(features, contract.feature_dim)
    timed = synthetic_features(LENGTH, contract.feature_dim)
    setups = list(_setups(model, judged=bool(judged)))
    tried = []
    for setup in setups:
        engine = replace(options, backend=setup.backend, device="cpu", bf16=setup.bf16)
        try:  # one after another: a small box does not hold all of them
            with Network.open(setup.path, engine) as network:
                setup.seconds = _fastest_run(network, timed, BUDGET_S / len(setups))
                found = network.run(judged) if judged else []
        except Co2netError as error:  # not installed, or not on this processor
            logger.debug("%s: %s", setup.path, error)
            continue
        setup.outputs = [Outputs(one.cas, one.attention) for one in found]
        tried.append(setup)
    if not tried:
        return Check(name, "warn", "no engine for it is installed", "pip install 'co2net[cpu]'")
    base = tried[0]
    for one in tried if judged else []:
        one.changed = compare_decisions(base.outputs, one.outputs, contract.decode).changed
    fit = [one for one in tried if one.changed <= MOST_CHANGED]
    best = min(fit, key=lambda one: one.seconds)
    speedup = base.seconds / best.seconds
    if speedup < _CLEAR:
        return Check(name, "ok", f"{base}: no other file or engine is clearly faster here")
    text = f"{best}: {speedup:.1f} times {base}"
    if not judged:
        return Check(name, "ok", f"{text}; speed only: --features FOLDER compares segments, too")
    return Check(name, "ok", f"{text}, {best.changed * 100:.1f} % of segments moved")


def _setups(model: Path, *, judged: bool) -> Iterator[Setup]:
    """Yield what could run, first the model itself in the engine that ONNX files are made for.

    int8 and bfloat16 together can move too much: only where it is seen, here or at export.
    """
    own = read_contract(model)
    for path in [model, *_siblings(model)]:
        contract = read_contract(path)
        same = contract.checkpoint_sha256 == own.checkpoint_sha256
        if not same or contract.graph != "whole" or contract.precision == "int8-trt":
            continue
        yield Setup(path, contract.precision, "onnxruntime")
        yield Setup(path, contract.precision, "openvino")
        if judged or contract.precision != "int8-cpu" or "bf16" in contract.parity:
            yield Setup(path, contract.precision, "openvino", bf16=True)


def _siblings(model: Path) -> list[Path]:
    """Return MODEL.int8.onnx and the like beside MODEL.onnx that can be read."""
    found = []
    for path in sorted(model.parent.glob(f"{glob.escape(model.stem)}.*.onnx")):
        try:
            read_contract(path)
        except Co2netError:
            continue
        found.append(path)
    return found


def _judged(features: Path | None, feature_dim: int) -> list[Features]:
    if features is None:
        return []
    files = list(find_feature_files([os.fspath(features)]))[:_VIDEOS]
    return [file.read(feature_dim) for file in files]


def _fastest_run(network: Network, timed: Features, budget_s: float) -> float:
    """Return the seconds of the fastest run: disturbances only add time."""
    network.run([timed])
    end, fastest = time.monotonic() + budget_s, math.inf
    while math.isinf(fastest) or time.monotonic() < end:
        start = time.perf_counter()
        network.run([timed])
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
