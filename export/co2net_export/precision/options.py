"""The precisions an artefact can have, and what each does to the fp32 graph."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from co2net_export.precision.calibration import METHODS, Features, Range, collect
from co2net_export.precision.fp16 import edges, to_half
from co2net_export.precision.int8 import SCHEMES, layer_names, plan, quantise
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import nearest

Precision = Literal["fp32", "fp16", "int8-cpu", "int8-trt"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8-cpu", "int8-trt")
Method = Literal["min-max", "percentile", "entropy"]
Lower = Callable[[onnx.ModelProto], onnx.ModelProto]

# The last layers of the three heads. Their outputs are the logits of cas and attention, which 8
# bits cannot hold finely enough, and they are 0.1 % of the arithmetic.
FLOAT_LAYERS = ("vAttn.attention.5", "fAttn.attention.5", "classifier.4")
# The layers before them in the attention heads: the decoder compares the attention with ten
# thresholds, and 8-bit inputs here alone moved it across one in 1.1 % of the snippets. And the
# global contexts, which are computed once a video and act on all of it.
FINE_LAYERS = tuple(
    f"{module}.{layer}"
    for module in ("vAttn", "fAttn")
    for layer in ("channel_conv.0", "attention.0", "attention.3")
)


@dataclass(frozen=True)
class PrecisionOptions:
    """How the fp32 graph is lowered.

    method: how ranges follow from the calibration's histograms. float_layers: names of the layers
    left in float. fine_layers: names of those whose weights become int8 and whose inputs keep more
    than 8 bits, in the int8 precisions.
    """

    precision: Precision = "fp32"
    method: Method = "percentile"
    float_layers: tuple[str, ...] = FLOAT_LAYERS
    fine_layers: tuple[str, ...] = FINE_LAYERS

    @property
    def quantised(self) -> bool:
        """Whether calibration data are needed."""
        return self.precision in SCHEMES


FP32 = PrecisionOptions()


def lowered_layers(model: onnx.ModelProto, options: PrecisionOptions) -> tuple[str, ...]:
    """Return the names of the layers that are not left in float, in the graph's order.

    Raises InputError for a name that is no layer of the graph, and if no layer is left.
    """
    known = layer_names(model)
    for name in options.float_layers:
        if name not in known:
            raise InputError(f"no layer is called {name!r}{nearest(name, known)}")
    lowered = tuple(name for name in known if name not in options.float_layers)
    if not lowered:
        raise InputError(f"every layer is kept in float: that is fp32, not {options.precision}")
    return lowered


def calibrate(
    model: onnx.ModelProto, options: PrecisionOptions, videos: Iterable[Features]
) -> dict[str, Range]:
    """Return the ranges that `lower` needs, measured on videos (T, D) with the fp32 graph.

    Raises InputError if there are no videos.
    """
    scheme = SCHEMES[options.precision]
    # all layers, so that a sensitivity sweep can quantise each with the ranges at hand
    chosen = plan(model, layer_names(model), scheme).values
    unclipped = plan(model, layer_names(model), scheme, options.fine_layers).fine_values
    return {
        name: METHODS["min-max" if name in unclipped else options.method](histogram)
        for name, histogram in collect(model, chosen, videos).items()
    }


def half_islands(model: onnx.ModelProto, float_layers: Iterable[str]) -> frozenset[str]:
    """Return the names of the nodes that stay in float32 in the fp16 graph.

    Measured on a trained model with every float16 value rounded (`with_rounding`), held-out
    videos, mean differences from PyTorch of cas and attention:

    - everything in float16: 4.1e-4 and 1.6e-4. The temporal mean is kept in float32 all the same:
      it costs nothing, and its sum leaves float16's range in long videos.
    - what follows the last layers in float32: attention 3.9e-5. Near 1, float16 knows the attention
      in steps of 5e-4, and the decoder compares it with thresholds.
    - the last layers, too: cas 2.9e-4 (0.1 % of the weights).
    - the sigmoid gates and their products, too: cas 2.4e-4, the decoder's scores move a fifth.

    The global contexts or the attention heads in float32 changed nothing more.
    """
    gates = (node.name for node in model.graph.node if node.op_type in ("Sigmoid", "Mul"))
    return frozenset((*edges(model, layer_names(model)), *float_layers, *gates))


def lower(
    model: onnx.ModelProto,
    options: PrecisionOptions,
    ranges: Mapping[str, Range],
    layers: Iterable[str] | None = None,
) -> onnx.ModelProto:
    """Return the fp32 graph in the wanted precision.

    ranges: what `calibrate` returned, for the int8 precisions. layers: lower these alone; by
    default all but options.float_layers.
    """
    lowered = frozenset(lowered_layers(model, options) if layers is None else layers)
    if options.precision == "fp32":
        return model
    if options.precision == "fp16":
        if layers is None:
            return to_half(model, half_islands(model, options.float_layers))
        return to_half(model, {node.name for node in model.graph.node} - lowered)
    scheme = SCHEMES[options.precision]
    fine = options.fine_layers if layers is None else ()
    return quantise(model, plan(model, lowered, scheme, fine), scheme, ranges)
