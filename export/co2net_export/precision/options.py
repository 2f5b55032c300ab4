"""The precisions an artefact can have, and how the fp32 graph is lowered to each."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import onnx

from co2net_export.graph.two_d import with_2d_layers
from co2net_export.precision.calibration import METHODS, Histogram, collect
from co2net_export.precision.fp16 import edges, to_half
from co2net_export.precision.int8 import SCHEMES, layer_names, plan, quantize
from co2net_runtime.artefact.contract import Precision
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features
from co2net_runtime.files.records import nearest

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# the opset whose QuantizeLinear takes float16
HALF_SCALES = 19
# written in the form that TensorRT takes as it is
FOR_GPUS: tuple[Precision, ...] = ("fp16", "int8-trt")
Method = Literal["min-max", "percentile", "entropy"]

# The last layers of the three heads: their outputs are the logits of cas and attention, for which 8
# bits are too coarse, and they are 0.1 % of the arithmetic.
FLOAT_LAYERS = ("vAttn.attention.5", "fAttn.attention.5", "classifier.4")
# The layers before them in the attention heads: the decoder compares the attention with ten
# thresholds, and 8-bit inputs to these layers alone moved 1.1 % of the snippets across one. And the
# global contexts, which are computed once per video and act on all of it.
FINE_LAYERS = tuple(
    f"{module}.{layer}"
    for module in ("vAttn", "fAttn")
    for layer in ("channel_conv.0", "attention.0", "attention.3")
)


@dataclass(frozen=True)
class PrecisionOptions:
    """How the fp32 graph is lowered."""

    precision: Precision = "fp32"
    method: Method = "percentile"  # how ranges follow from the calibration's histograms
    float_layers: tuple[str, ...] = FLOAT_LAYERS  # names of the layers left in float
    # int8: names of the layers with int8 weights whose inputs keep more than 8 bits
    fine_layers: tuple[str, ...] = FINE_LAYERS

    @property
    def quantized(self) -> bool:
        """Whether calibration data are needed."""
        return self.precision in SCHEMES

    def keeping(self, layer: str) -> "PrecisionOptions":
        """Return options that cost one layer less: its input is kept in float, then all of it."""
        if layer in self.fine_layers:
            return dataclasses.replace(self, float_layers=(*self.float_layers, layer))
        return dataclasses.replace(self, fine_layers=(*self.fine_layers, layer))


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
) -> dict[str, Histogram]:
    """Measure what `lower` needs, on videos (T, D) with the fp32 graph.

    Raises InputError if there are no videos.
    """
    # of all layers, so that each can be quantized in another way with the same measurement
    layers = layer_names(model)
    ranged = plan(model, layers, SCHEMES[options.precision]).values
    inputs = (node.input[0] for node in model.graph.node if node.name in layers)
    return collect(model, list(dict.fromkeys((*ranged, *inputs))), videos)


def half_islands(model: onnx.ModelProto, float_layers: Iterable[str]) -> frozenset[str]:
    """Return the names of the nodes that stay in float32 in the fp16 graph.

    An int8 graph that is float16 otherwise keeps all of them but the gates, whose rounding is lost
    beside that of 8 bits.

    Measured on a trained model with every float16 value rounded (`with_rounding`), held-out
    videos, mean differences from PyTorch of cas and attention:

    - everything in float16: 4.1e-4 and 1.6e-4. The temporal mean stays in float32 anyway: that
      costs nothing, and its sum leaves float16's range in long videos.
    - what follows the last layers in float32: attention 3.9e-5. Near 1, float16 has steps of 5e-4,
      and the decoder compares the attention with thresholds.
    - the last layers, too: cas 2.9e-4 (0.1 % of the weights).
    - the sigmoid gates and their products, too: cas 2.4e-4, the decoder's scores move a fifth.

    The global contexts or the attention heads in float32 changed nothing more.
    """
    gates = (node.name for node in model.graph.node if node.op_type in ("Sigmoid", "Mul"))
    return frozenset((*edges(model, layer_names(model)), *float_layers, *gates))


def lower(
    model: onnx.ModelProto,
    options: PrecisionOptions,
    histograms: Mapping[str, Histogram] | None = None,
    layers: Iterable[str] | None = None,
) -> onnx.ModelProto:
    """Return the fp32 graph in another precision.

    Args:
        model: The fp32 graph of `convert`; not changed.
        options: The precision, and the layers that it leaves alone.
        histograms: What `calibrate` returned; int8 needs it.
        layers: Lower these alone, without fine layers; None: all but options.float_layers.

    Returns:
        The lowered graph; for fp32, `model` itself.

    Raises:
        InputError: A name in the options is no layer's, no layer is left, or the graph's opset has
            no float16 scales.
        BackendError: fp16 cannot hold a weight.
    """
    lowered = frozenset(lowered_layers(model, options) if layers is None else layers)
    if options.precision == "fp32":
        return model
    if options.precision in FOR_GPUS:
        model = with_2d_layers(model)
    if options.precision == "fp16":
        if layers is None:
            return to_half(model, half_islands(model, options.float_layers))
        return to_half(model, {node.name for node in model.graph.node} - lowered)
    scheme = SCHEMES[options.precision]
    if scheme.half and model.opset_import[0].version < HALF_SCALES:
        raise InputError(f"{options.precision} needs --opset {HALF_SCALES} or later")
    fine = options.fine_layers if layers is None else ()
    assert histograms is not None
    quantized = plan(model, lowered, scheme, fine)
    ranges = {name: METHODS[options.method](histograms[name]) for name in quantized.values}
    means = {name: histogram.means for name, histogram in histograms.items()}
    result = quantize(model, quantized, scheme, ranges, means=means)
    if not scheme.half or layers is not None:
        return result
    return to_half(result, edges(model, layer_names(model)).union(options.float_layers))
