"""Which layers cost accuracy: each one lowered alone, the rest of the graph in fp32."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from co2net_export.export import Exporter
from co2net_export.graph.session import open_graph
from co2net_export.parity.decisions import Decisions, Outputs
from co2net_export.parity.parity import HeldOut, run_video
from co2net_export.precision.fp16 import with_rounding
from co2net_export.precision.int8 import layer_names
from co2net_export.precision.options import PrecisionOptions, lower, lowered_layers
from co2net_runtime.cli.console import progress
from co2net_runtime.errors import InputError


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to lower some layers.

    layers: their names. cas_mean_abs, attention_mean_abs: mean absolute difference from PyTorch on
    the held-out videos. parameters: weights that the layers hold.
    """

    layers: tuple[str, ...]
    parameters: int
    cas_mean_abs: float
    attention_mean_abs: float
    decisions: Decisions


def sweep(exporter: Exporter, options: PrecisionOptions) -> tuple[Sensitivity, ...]:
    """Lower each layer alone, with 8-bit inputs in the int8 precisions; the last row is all that
    the options lower, as they lower it.

    Raises InputError where there are no held-out videos or nothing is lowered.
    """
    held_out = exporter.held_out
    if held_out is None:
        raise InputError("a sensitivity sweep needs held-out videos: name --calibration DATA")
    if options.precision == "fp32":
        raise InputError("a sensitivity sweep needs a --precision lower than fp32")
    graph = exporter.graph()
    parameters = {node.name: node.input[1] for node in graph.graph.node if len(node.input) > 1}
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    ranges = exporter.ranges(options)
    # None: what is exported
    variants = [*((name,) for name in layer_names(graph)), None]

    def measure(alone: tuple[str, ...] | None) -> Sensitivity:
        lowered = lower(graph, options, ranges, alone)
        if options.precision == "fp16":
            lowered = with_rounding(lowered)
        session = open_graph(lowered)
        layers = alone or lowered_layers(graph, options)
        outputs = held_out.run(lambda features: run_video(session, features), "", quiet=True)
        cas, attention = _mean_differences(held_out, outputs)
        return Sensitivity(
            layers=layers,
            parameters=sum(sizes[parameters[name]] for name in layers),
            cas_mean_abs=cas,
            attention_mean_abs=attention,
            decisions=held_out.decisions(outputs),
        )

    with progress(variants, "sensitivity sweep", quiet=exporter.quiet) as items:
        return tuple(measure(alone) for alone in items)


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
        f"{together.decisions.videos} held-out videos, {together.decisions.segments} segments of "
        "at least 0.1 of their video's best score"
    )


def _cost(row: Sensitivity) -> tuple[float, float]:
    return row.decisions.changed, row.cas_mean_abs + row.attention_mean_abs


def _mean_differences(held_out: HeldOut, outputs: Sequence[Outputs]) -> tuple[float, float]:
    pairs = list(zip(held_out.references, outputs, strict=True))
    cas = np.concatenate([np.abs(a.cas - b.cas).ravel() for a, b in pairs])
    attention = np.concatenate([np.abs(a.attention - b.attention) for a, b in pairs])
    return float(cas.mean(dtype=np.float64)), float(attention.mean(dtype=np.float64))
