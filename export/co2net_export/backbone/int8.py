"""Which activations of a backbone are quantized, and with which ranges.

What leaves a ReLU is quantized, so that the ReLU costs nothing, and pooling and concatenation
compute in integers. Values that only move through them share one scale: nothing is rounded twice.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from co2net_export.precision.calibration import Histogram, Range, observe, percentile
from co2net_export.precision.int8 import SCHEMES, Plan, quantize
from co2net_runtime.artefact.backbone import CLIPS_INPUT
from co2net_runtime.errors import InputError

Clip = npt.NDArray[np.float32]
Means = npt.NDArray[np.float64]  # (channels,)
SCHEME = SCHEMES["int8-cpu"]
MOVES = ("MaxPool", "Concat")


def quantize_backbone(model: onnx.ModelProto, clips: Iterable[Clip]) -> onnx.ModelProto:
    """Return the int8 graph of a backbone.

    Args:
        model: fp32 graph of Conv, Relu, MaxPool and Concat, then an average.
        clips: (channels, frames, height, width) float32 each, to measure activations on.

    Raises:
        InputError: There are no clips, or no convolution.
    """
    plan = backbone_plan(model)
    ranges, means = measure(model, plan, clips)
    return quantize(model, plan, SCHEME, shared_ranges(model, ranges), means=means)


def backbone_plan(model: onnx.ModelProto) -> Plan:
    """Decide what is quantized: all convolutions, and what moves between them.

    Raises:
        InputError: The graph has no convolution.
    """
    layers = frozenset(node.name for node in model.graph.node if node.op_type == "Conv")
    if not layers:
        raise InputError("the backbone has no convolution to quantize: export it in fp32 or fp16")
    feeding = _feeding(model, layers)
    values: dict[str, None] = {}
    integer = set()
    for node in model.graph.node:
        if node.name in layers:
            values[node.input[0]] = None
        if node.op_type in ("Relu", *MOVES) and node.output[0] in feeding:
            integer.add(node.name)
            values[node.output[0]] = None
    return Plan(layers, frozenset(), frozenset(integer), tuple(values))


def _feeding(model: onnx.ModelProto, layers: frozenset[str]) -> set[str]:
    """Return the values that a convolution reads, directly or through pooling and joining."""
    feeding: set[str] = set()
    for node in reversed(model.graph.node):
        moves = node.op_type in MOVES and node.output[0] in feeding
        if node.name in layers or moves:
            feeding.update(node.input[:1] if node.name in layers else node.input)
    return feeding


def measure(
    model: onnx.ModelProto, plan: Plan, clips: Iterable[Clip]
) -> tuple[dict[str, Range], dict[str, Means]]:
    """Return the range of each of the plan's values on clips, and the mean of each channel."""
    feeds = ({CLIPS_INPUT: clip[None]} for clip in clips)
    histograms = {name: Histogram() for name in plan.values}
    for activations in observe(model, plan.values, feeds):
        for name, activation in activations.items():
            histograms[name].add(activation)
    ranges = {name: percentile(histogram) for name, histogram in histograms.items()}
    return ranges, {name: histogram.means for name, histogram in histograms.items()}


def shared_ranges(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Let what goes into pooling and joining, and what comes out, have one range.

    A joined value has the range of the widest part; a pooled value that of what was pooled.
    """
    group = {name: name for name in ranges}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in model.graph.node:
        if node.op_type in MOVES:
            names = [name for name in (*node.input, node.output[0]) if name in group]
            for name in names[1:]:
                group[root(name)] = root(names[0])
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for name, span in ranges.items():
        key = root(name)
        lows[key] = min(lows.get(key, 0.0), span.low)
        highs[key] = max(highs.get(key, 0.0), span.high)
    return {name: Range(lows[root(name)], highs[root(name)]) for name in ranges}
