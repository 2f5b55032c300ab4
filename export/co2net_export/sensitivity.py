"""Which layers cost accuracy, and which to keep in float when a gate is missed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from co2net_export.graph.session import open_graph
from co2net_export.parity.parity import HeldOut, run_video
from co2net_export.precision.calibration import Histogram
from co2net_export.precision.fp16 import with_rounding
from co2net_export.precision.int8 import layer_names
from co2net_export.precision.options import PrecisionOptions, lower, lowered_layers
from co2net_runtime.cli.console import progress
from co2net_runtime.decoding.decisions import Decisions, Outputs
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features
from co2net_runtime.files.text import number_of


@dataclass(frozen=True)
class Sensitivity:
    """The cost of lowering some layers."""

    layers: tuple[str, ...]  # their names
    parameters: int  # weights that they hold
    # mean absolute difference from PyTorch on the held-out videos
    cas_mean_abs: float
    attention_mean_abs: float
    decisions: Decisions


def sweep(
    graph: onnx.ModelProto,
    options: PrecisionOptions,
    histograms: Mapping[str, Histogram],
    held_out: HeldOut | None,
    *,
    quiet: bool = False,
) -> tuple[Sensitivity, ...]:
    """Lower each layer alone, the rest of the graph staying fp32.

    Args:
        graph: The fp32 graph.
        options: The precision; in int8, a layer alone has 8-bit inputs.
        histograms: What `calibrate` measured, for int8.
        held_out: The videos to compare on.
        quiet: No progress bar.

    Returns:
        One entry for each layer; the last is all that the options lower, as they lower it.

    Raises:
        InputError: There are no held-out videos, or nothing is lowered.
    """
    if held_out is None:
        raise InputError("a sensitivity sweep needs held-out videos: name --data DATA")
    if options.precision == "fp32":
        raise InputError("a sensitivity sweep needs a --precision lower than fp32")
    parameters = {node.name: node.input[1] for node in graph.graph.node if len(node.input) > 1}
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}

    def measure(alone: tuple[str, ...] | None) -> Sensitivity:
        lowered = lower(graph, options, histograms, alone)
        if options.precision == "fp16":
            lowered = with_rounding(lowered)
        session = open_graph(lowered)
        layers = alone or lowered_layers(graph, options)
        outputs = held_out.run(lambda features: run_video(session, features), "", quiet=True)
        cas, attention = _mean_differences(held_out.references, outputs)
        return Sensitivity(
            layers=layers,
            parameters=sum(sizes[parameters[name]] for name in layers),
            cas_mean_abs=cas,
            attention_mean_abs=attention,
            decisions=held_out.decisions(outputs),
        )

    # None: what is exported
    variants = [*((name,) for name in layer_names(graph)), None]
    with progress(variants, "sensitivity sweep", quiet=quiet) as items:
        return tuple(measure(alone) for alone in items)


def relaxed(
    graph: onnx.ModelProto,
    options: PrecisionOptions,
    histograms: Mapping[str, Histogram],
    videos: Sequence[Features],
) -> Iterator[PrecisionOptions]:
    """Yield int8 options that keep one layer more in float each time, the most costly one first.

    A layer's input is kept in float before its weights are, which costs time but no size. The cost
    of a layer is how much of the difference from fp32 goes away with it, relative to the whole of
    it, in cas and in attention.

    Args:
        graph: The fp32 graph.
        options: What missed the gate.
        histograms: What `calibrate` measured.
        videos: Features (T, D) to measure costs on: not those that judge.
    """
    fp32 = open_graph(graph)
    references = [run_video(fp32, features) for features in videos]

    def differences(candidate: PrecisionOptions) -> tuple[float, float]:
        session = open_graph(lower(graph, candidate, histograms))
        return _mean_differences(references, [run_video(session, one) for one in videos])

    current = differences(options)
    while True:
        lowered = lowered_layers(graph, options)
        layers = [name for name in lowered if name not in options.fine_layers] or lowered
        if len(lowered) == 1 and layers == lowered:
            return
        measured = {}
        for name in layers:
            candidate = options.keeping(name)
            measured[candidate] = differences(candidate)
        options = min(measured, key=lambda one: _remaining(measured[one], current))
        current = measured[options]
        yield options


def table(rows: Sequence[Sensitivity]) -> Iterator[str]:
    """Yield the lines of a table, most costly layer first, all lowered layers together last."""
    yield (
        f"{'lowered':<28}{'parameters':>12}{'|d cas|':>10}{'|d att|':>10}"
        f"{'lost':>6}{'added':>6}{'moved':>6}{'changed':>9}{'crossed':>9}"
    )
    *single, together = rows
    for row in [*sorted(single, key=_cost, reverse=True), together]:
        name = row.layers[0] if len(row.layers) == 1 else f"{len(row.layers)} layers together"
        decisions = row.decisions
        yield (
            f"{name:<28}{row.parameters:>12,}{row.cas_mean_abs:>10.1e}"
            f"{row.attention_mean_abs:>10.1e}{decisions.lost:>6}{decisions.added:>6}"
            f"{decisions.moved:>6}{decisions.changed:>9.2%}{decisions.crossed:>9.2%}"
        )
    yield (
        f"{number_of(together.decisions.videos, 'held-out video')}, "
        f"{number_of(together.decisions.segments, 'segment')} of "
        "at least 0.1 of their video's best score"
    )


def _cost(row: Sensitivity) -> tuple[float, float]:
    return row.decisions.changed, row.cas_mean_abs + row.attention_mean_abs


def _remaining(measured: tuple[float, float], before: tuple[float, float]) -> float:
    """Return how much of both differences is left, each relative to what it was."""
    return sum(now / max(then, 1e-12) for now, then in zip(measured, before, strict=True))


def _mean_differences(
    references: Sequence[Outputs], outputs: Sequence[Outputs]
) -> tuple[float, float]:
    """Return the mean absolute differences of cas and of attention."""
    pairs = list(zip(references, outputs, strict=True))
    cas = np.concatenate([np.abs(a.cas - b.cas).ravel() for a, b in pairs])
    attention = np.concatenate([np.abs(a.attention - b.attention) for a, b in pairs])
    return float(cas.mean(dtype=np.float64)), float(attention.mean(dtype=np.float64))
