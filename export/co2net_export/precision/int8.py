"""fp32 graph -> int8 graph: QuantizeLinear/DequantizeLinear pairs, weights stored as int8.

onnxruntime.quantization does some of this, but not TensorRT's form beside a CPU's, 7-bit weights,
or float layers on int8 weights.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from co2net_export.precision.calibration import Range

LAYER_OPS = ("Conv", "Gemm")


@dataclass(frozen=True)
class Scheme:
    """How an engine wants its Q/DQ pairs."""

    # uint8 with a zero point, or int8 symmetric about 0
    activations: type[np.uint8] | type[np.int8]
    # largest magnitude of the int8 weights that meet such activations
    weights: int
    # whether a bias is stored as int32, in units of activation scale times weight scale
    bias: bool
    # whether a quantized layer's output is quantized too, so that what lies between two such layers
    # computes in integers
    outputs: bool
    # What is not int8 computes in float16, and so do layers whose input needs more than 8 bits.
    # Else it is float32, and these layers have int8 weights, which the engine expands at load.
    half: bool


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        # x86 CPUs multiply U8S8 fastest; ONNX Runtime fuses a convolution only where input, weight,
        # bias and output are all quantized. Weights of 7 bits: x86 CPUs before VNNI add pairs of
        # products in 16 bits and would clip the sums of larger ones; this way every CPU computes
        # what was measured at export. (Arm CPUs need neither; nothing was measured there.)
        "int8-cpu": Scheme(activations=np.uint8, weights=63, bias=True, outputs=True, half=False),
        # TensorRT: zero point 0, bias in float; it fuses what follows a convolution by itself,
        # and a Q/DQ pair between them would only round twice; it knows no int8 weights on float
        # activations. Strongly typed, its float is that of the scales.
        "int8-trt": Scheme(activations=np.int8, weights=127, bias=False, outputs=False, half=True),
    }
)


def layer_names(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the layers that have weights, in the graph's order."""
    return tuple(node.name for node in model.graph.node if node.op_type in LAYER_OPS)


@dataclass(frozen=True)
class Plan:
    """The names of the nodes and values that are quantized."""

    layers: frozenset[str]  # nodes whose weights are
    fine: frozenset[str]  # of these layers, those whose input needs more than 8 bits
    # nodes that read and write quantized values alone: the layers too if the scheme quantizes
    # outputs
    integer: frozenset[str]
    values: tuple[str, ...]  # activations that get a Q/DQ pair: their ranges must be known


def plan(
    model: onnx.ModelProto, layers: Collection[str], scheme: Scheme, fine: Collection[str] = ()
) -> Plan:
    """Decide what is quantized along with `layers`, the names of Conv and Gemm nodes.

    With quantized outputs, the activation and the mask between two quantized layers compute in
    integers too; everything else stays in float. Names in `fine` that are not in `layers` are
    ignored.
    """
    coarse = frozenset(layers).difference(fine)
    fine = frozenset() if scheme.half else frozenset(layers) - coarse
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def leads_to_layers(node: onnx.NodeProto) -> bool:
        following = readers.get(node.output[0], [])
        return bool(following) and all(
            reader.name in coarse or (reader.op_type == "Where" and leads_to_layers(reader))
            for reader in following
        )

    values: dict[str, None] = {}
    integer: set[str] = set()
    written_in_integers: set[str] = set()
    for node in model.graph.node:
        between = node.op_type in ("LeakyRelu", "Where") and leads_to_layers(node)
        if node.name in coarse:
            values[node.input[0]] = None
        elif not (between and written_in_integers.intersection(node.input)):
            continue
        if scheme.outputs:
            integer.add(node.name)
            written_in_integers.add(node.output[0])
            values[node.output[0]] = None
    return Plan(coarse | fine, fine, frozenset(integer), tuple(values))


def quantize(
    model: onnx.ModelProto,
    plan: Plan,
    scheme: Scheme,
    ranges: Mapping[str, Range],
    *,
    means: Mapping[str, npt.NDArray[np.float64]] = MappingProxyType({}),
) -> onnx.ModelProto:
    """Return the quantized graph; its weights are symmetric int8, one scale per output channel.

    Args:
        model: The fp32 graph; not changed.
        plan: What to quantize.
        scheme: How.
        ranges: Of at least the plan's values.
        means: Of the channels of what layers read. Where they are given, the bias makes up for what
            rounding the weights adds to the output on average (M. Nagel et al., "Data-Free
            Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2, with
            measured means).
    """
    writer = _Writer(model, scheme, ranges, means)
    # quantized values by the name of their dequantized version
    dequantized: dict[str, str] = {}
    written_in_integers: set[str] = set()
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if node.name in plan.fine:
            writer.layer_on_floats(node)
            continue
        is_layer = node.name in plan.layers
        if is_layer and node.input[0] not in dequantized:
            dequantized[node.input[0]] = writer.activation(node.input[0])
        if is_layer:
            writer.weights(node)
        elif node.name in plan.integer and node.op_type == "Where":
            node.input[2] = writer.zero_like(node.output[0])
        for index, name in enumerate(node.input):
            # a float node reads the float value where there is one: it is exact and costs nothing
            if name in dequantized and (is_layer or name in written_in_integers):
                node.input[index] = dequantized[name]
        writer.nodes.append(node)
        if node.name in plan.integer:
            dequantized[node.output[0]] = writer.activation(node.output[0])
            written_in_integers.add(node.output[0])
    return writer.model()


class _Writer:
    """Collects the nodes and tensors of the quantized graph."""

    def __init__(
        self,
        model: onnx.ModelProto,
        scheme: Scheme,
        ranges: Mapping[str, Range],
        means: Mapping[str, npt.NDArray[np.float64]],
    ) -> None:
        self._means = means
        self.nodes: list[onnx.NodeProto] = []
        self._original = model
        self._scheme = scheme
        self._ranges = dict(ranges)
        self._floats = {tensor.name: tensor for tensor in model.graph.initializer}
        self._tensors: dict[str, onnx.TensorProto] = {}

    def activation(self, name: str) -> str:
        """Add a Q/DQ pair to an activation; return the name of the dequantized value."""
        scale, zero = self._activation_parameters(name)
        node = onnx.helper.make_node(
            "QuantizeLinear",
            [name, scale, zero],
            [f"{name}.quantized"],
            name=f"{name}.quantize",
        )
        self.nodes.append(node)
        return self._dequantize(node.output[0], scale, zero)

    def zero_like(self, name: str) -> str:
        """Add the number 0 in the integers of the activation `name`; return its name in float."""
        _, zero = self._scale_and_zero(name)
        stored = self._constant(f"{name}.masked", zero)
        return self._dequantize(stored, *self._activation_parameters(name))

    def weights(self, layer: onnx.NodeProto) -> None:
        """Let the layer read int8 weights, and an int32 bias where the scheme wants one."""
        activation_scale, _ = self._scale_and_zero(layer.input[0])
        weight = numpy_helper.to_array(self._floats[layer.input[1]])
        bias = self._bias(layer)
        stored_bias = bias if self._scheme.bias else None
        scale = _weight_scale(weight, self._scheme.weights, stored_bias, activation_scale)
        if self._scheme.half:
            scale = _half_up(scale)
        rounded = _to_int8(weight, scale)
        name = layer.input[1]
        layer.input[1] = self._per_channel(name, rounded, scale)
        if bias is None:
            return
        bias = bias + self._average_loss(layer.input[0], weight, rounded, scale)
        if not self._scheme.bias:
            if not self._means:
                return
            layer.input[2] = self._constant(f"{layer.input[2]}.corrected", bias.astype(np.float32))
            return
        bias_scale = (scale.astype(np.float64) * activation_scale).astype(np.float32)
        steps = np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32)
        layer.input[2] = self._per_channel(layer.input[2], steps, bias_scale)

    def _bias(self, layer: onnx.NodeProto) -> npt.NDArray[np.float64] | None:
        if len(layer.input) < 3:
            return None
        values: npt.NDArray[np.float64] = numpy_helper.to_array(self._floats[layer.input[2]])
        return values.astype(np.float64)

    def _average_loss(
        self,
        value: str,
        weight: npt.NDArray[np.float32],
        rounded: npt.NDArray[np.int8],
        scale: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float64]:
        """Return the mean error of each output, (outputs,), from rounding the weights.

        At a video's ends a k=3 layer reads zeros, so there it is a little less.
        """
        if value not in self._means:
            return np.zeros(len(weight))
        loss = weight - rounded.astype(np.float64) * _per_output(scale, weight.ndim)
        average: npt.NDArray[np.float64] = (
            loss.reshape(*loss.shape[:2], -1).sum(axis=2) @ self._means[value]
        )
        return average

    def layer_on_floats(self, layer: onnx.NodeProto) -> None:
        """Add the layer in float, its weights stored as int8.

        They are expanded by plain operators on constants, which engines fold as they load the
        model; a DequantizeLinear would be kept for fusing and run with every video.
        """
        name = layer.input[1]
        weight = numpy_helper.to_array(self._floats[name])
        scale = _weight_scale(weight, 127)
        rounded = _to_int8(weight, scale)
        stored = self._constant(f"{name}.int8", rounded)
        factor = self._constant(f"{name}.scale", _per_output(scale, weight.ndim))
        expanded = (f"{name}.cast", f"{name}.expanded")
        self.nodes.extend(
            (
                onnx.helper.make_node(
                    "Cast", [stored], [expanded[0]], name=expanded[0], to=onnx.TensorProto.FLOAT
                ),
                onnx.helper.make_node(
                    "Mul", [expanded[0], factor], [expanded[1]], name=expanded[1]
                ),
            )
        )
        layer.input[1] = expanded[1]
        bias = self._bias(layer)
        if bias is not None:
            bias = bias + self._average_loss(layer.input[0], weight, rounded, scale)
            layer.input[2] = self._constant(f"{layer.input[2]}.corrected", bias.astype(np.float32))
        self.nodes.append(layer)

    def model(self) -> onnx.ModelProto:
        """Return the graph with the tensors that it uses."""
        result = onnx.ModelProto()
        result.CopyFrom(self._original)
        del result.graph.node[:]
        del result.graph.initializer[:]
        result.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for name, tensor in self._floats.items() if name in used]
        result.graph.initializer.extend([*kept, *self._tensors.values()])
        return result

    def _per_channel(
        self, name: str, stored: npt.NDArray[Any], scale: npt.NDArray[np.float32]
    ) -> str:
        names = (
            self._constant(f"{name}.{stored.dtype}", stored),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero_point", np.zeros(len(scale), stored.dtype)),
        )
        return self._dequantize(*names, axis=0)

    def _dequantize(self, name: str, scale: str, zero: str, axis: int | None = None) -> str:
        result = f"{name}.dequantized"
        node = onnx.helper.make_node(
            "DequantizeLinear", [name, scale, zero], [result], name=f"{name}.dequantize"
        )
        if axis is not None:
            node.attribute.append(onnx.helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return result

    def _activation_parameters(self, name: str) -> tuple[str, str]:
        scale, zero = self._scale_and_zero(name)
        return (
            self._constant(f"{name}.scale", np.array(scale, np.float32)),
            self._constant(f"{name}.zero_point", zero),
        )

    def _scale_and_zero(self, name: str) -> tuple[float, npt.NDArray[Any]]:
        span = self._ranges[name]
        if self._scheme.activations is np.int8:
            limit = max(-span.low, span.high) or 1.0
            scale = np.float32(limit / 127)
            return float(_half_up(scale) if self._scheme.half else scale), np.array(0, np.int8)
        scale = float(np.float32((span.high - span.low) / 255 or 1.0))
        return scale, np.array(np.clip(round(-span.low / scale), 0, 255), np.uint8)

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._tensors[name] = numpy_helper.from_array(value, name)
        return name


def _per_output(scale: npt.NDArray[np.float32], dimensions: int) -> npt.NDArray[np.float32]:
    """Return the scales in the shape that multiplies weights (outputs, ...)."""
    return scale.reshape(-1, *[1] * (dimensions - 1))


def _half_up(scale: npt.NDArray[np.float32] | np.float32) -> npt.NDArray[np.float32]:
    """Return the next numbers that float16 holds: rounded down they would clip the largest."""
    half = np.asarray(scale).astype(np.float16)
    above = np.nextafter(half, np.float16(np.inf))
    return np.where(half.astype(np.float32) < scale, above, half).astype(np.float32)


def _to_int8(
    weight: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.int8]:
    steps: npt.NDArray[np.float32] = np.rint(weight / _per_output(scale, weight.ndim))
    return np.clip(steps, -127, 127).astype(np.int8)


def _weight_scale(
    weight: npt.NDArray[np.float32],
    limit: int,
    bias: npt.NDArray[np.float64] | None = None,
    activation_scale: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Return the scale of each output channel, (channels,) float32, symmetric about 0.

    limit: what the largest weight of a channel becomes. bias: to be stored as int32.
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    # what is lost in float32's subnormal numbers counts as 0
    scale = np.where(largest > 1e-30, largest / limit, 1.0)
    if bias is not None:
        # a channel whose weights are tiny beside its bias: the bias must fit into 32 bits
        scale = np.maximum(scale, np.abs(bias) / (activation_scale * (2.0**31 - 2**8)))
    return scale.astype(np.float32)
