"""fp32 graph -> the same numbers in less time on a CPU, in standard operators.

Four fifths of the arithmetic are k=3 convolutions. In Winograd's form, on tiles of four snippets,
they take half the multiplications, and they become matrix products whose weights the engine packs
once. But they have twice the weights, which makes short videos slower: so the file holds both
branches, fast and plain, and chooses by the number of snippets of the call. The fast branch also
drops the padding of ragged batches.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from co2net.config import ModelConfig
from co2net.model import LEAKY_SLOPE
from co2net_export.cpu.graph_writer import GraphWriter, ints, scalar
from co2net_export.cpu.packed_rows import PackedRows
from co2net_export.cpu.winograd import F43, Transform
from co2net_export.graph.convert import CONTEXT_NAME
from co2net_runtime.artefact.contract import MIN_ROWS, MIN_ROWS_NAME, OUTPUT_NAMES

PREFIX = "winograd/"


def optimize_for_cpu(
    model: onnx.ModelProto, config: ModelConfig, *, min_rows: int = MIN_ROWS
) -> onnx.ModelProto:
    """Return a graph that computes the same as `model`, a graph of `graph.convert`.

    Inputs and outputs are the same; where a call holds at least `min_rows` snippets (one more for
    each video), they come from the fast branch, else from `model`'s own nodes. The number is
    stored in an initializer, contract.MIN_ROWS_NAME, which a session may override.
    """
    graph = model.graph
    writer = _FastForm(model, config)
    outputs = writer.write()
    fast = onnx.helper.make_graph(writer.nodes, "fast", [], _declared(graph, outputs))
    plain_nodes = [_renamed(node) for node in graph.node]
    plain = onnx.helper.make_graph(
        plain_nodes, "plain", [], _declared(graph, [_plain_name(name) for name in OUTPUT_NAMES])
    )
    choose = GraphWriter("choose/")
    snippets = choose("ReduceSum", "lengths", keepdims=0)
    rows = choose("Add", snippets, choose("Size", "lengths"))
    choose.tensors.append(numpy_helper.from_array(scalar(min_rows), MIN_ROWS_NAME))
    many = choose("GreaterOrEqual", rows, MIN_ROWS_NAME)
    choose.nodes.append(
        onnx.helper.make_node(
            "If", [many], list(OUTPUT_NAMES), "form", then_branch=fast, else_branch=plain
        )
    )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    result.graph.node.extend(choose.nodes)
    result.graph.initializer.extend([*choose.tensors, *writer.tensors])
    return result


@dataclass(frozen=True)
class _Rows:
    """Rows (count, width) by name."""

    name: str
    width: int


class _FastForm:
    """Writes the network on packed rows."""

    def __init__(
        self, model: onnx.ModelProto, config: ModelConfig, transform: Transform = F43
    ) -> None:
        self._write = GraphWriter(PREFIX)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        # weight and bias by the layer's name; torch's exporter leaves out a bias that is all 0
        self._parameters = {node.name: node.input[1:3] for node in model.graph.node}
        self._config = config
        self._transform = transform
        self._with_context = any(value.name == CONTEXT_NAME for value in model.graph.input)
        self._rows = PackedRows(self._write, "features", "lengths", transform.outputs)
        self._windows = self._rows.windows(reach=1)

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes, in order."""
        return self._write.nodes

    @property
    def tensors(self) -> list[onnx.TensorProto]:
        """The constants that the nodes read, besides those of the plain graph."""
        return self._write.tensors

    def write(self) -> list[str]:
        """Write it all; return the names of cas and attention."""
        write, config, rows = self._write, self._config, self._rows
        dim, widths = config.feature_dim, (config.rgb_dim, config.flow_dim)
        features = rows.take("features", dim)
        if self._with_context:
            context = CONTEXT_NAME
        else:
            context = write("MatMul", rows.averages(), features)
        rgb, flow = self._streams(features)
        contexts = write.several("Split", context, ints(*widths), count=2, axis=1)
        seen_rgb, seen_flow = self._tiles(rgb), self._tiles(flow)
        rgb_attention, filtered_rgb = self._consensus("vAttn", rgb, seen_flow, contexts[0])
        flow_attention, filtered_flow = self._consensus("fAttn", flow, seen_rgb, contexts[1])
        both = write("Add", rgb_attention, flow_attention)
        attention = write("Mul", both, scalar(0.5))
        fused = write("Concat", filtered_rgb.name, filtered_flow.name, axis=1)
        feat = self._leaky(self._pointwise("fusion.0", fused))
        feat = rows.empty_gaps(feat, config.embed_dim)
        hidden = self._convolution("classifier.1", self._tiles(_Rows(feat, config.embed_dim)))
        cas = self._pointwise("classifier.4", self._leaky(hidden))
        joined = write("Concat", cas, attention, axis=1)
        outputs, mask = rows.put_back(joined)
        outputs = self._pool(outputs, mask)
        return write.several("Split", outputs, ints(config.classes + 1, 1), count=2, axis=2)

    def _streams(self, features: str) -> tuple[_Rows, _Rows]:
        widths = (self._config.rgb_dim, self._config.flow_dim)
        rgb, flow = self._write.several("Split", features, ints(*widths), count=2, axis=1)
        return _Rows(rgb, widths[0]), _Rows(flow, widths[1])

    def _consensus(
        self, module: str, main: _Rows, auxiliary: list[str], context: str
    ) -> tuple[str, _Rows]:
        """Return the attention (count, 1) and the filtered main stream of a consensus module."""
        write, width = self._write, self._config.attention_dim
        layer = f"{module}.channel_conv.0"
        overall = write("Gemm", context, *self._parameters[layer], name=layer, transB=1)
        overall = self._leaky(overall)
        overall = write("Gather", overall, self._rows.video)
        local = self._leaky(self._convolution(f"{module}.bit_wise_attn.0", auxiliary))
        gate = write("Sigmoid", write("Mul", local, overall))
        # main is 0 in the gaps, so the filtered stream is, too
        filtered = _Rows(write("Mul", gate, main.name), main.width)
        hidden = self._leaky(self._convolution(f"{module}.attention.0", self._tiles(filtered)))
        hidden = self._rows.empty_gaps(hidden, width)
        hidden = self._convolution(f"{module}.attention.3", self._tiles(_Rows(hidden, width)))
        logits = self._pointwise(f"{module}.attention.5", self._leaky(hidden))
        return write("Sigmoid", logits), filtered

    def _tiles(self, rows: _Rows) -> list[str]:
        """Return the inputs of the transform's products, (tiles, width) each."""
        write, count = self._write, self._transform.products
        windows = write("Gather", rows.name, self._windows)
        window = self._transform.window.astype(np.float32)
        mixed = write("MatMul", window, write("Reshape", windows, ints(count, -1)))
        mixed = write("Reshape", mixed, ints(-1, rows.width))
        return write.several("Split", mixed, count=count, axis=0, num_outputs=count)

    def _convolution(self, layer: str, tiles: list[str]) -> str:
        """Return a k=3 convolution with its bias, (count, out), of the tiles of its input."""
        write, transform = self._write, self._transform
        weight_name, *bias = self._parameters[layer]
        weight = numpy_helper.to_array(self._tensors[weight_name]).astype(np.float64)
        products = []
        for index, (tile, row) in enumerate(zip(tiles, transform.weights, strict=True)):
            mixed = np.einsum("k,oik->io", row, weight).astype(np.float32)
            stored = write.constant(mixed, f"{layer}.weight.{index}")
            name = f"{layer}.{index}"
            if index == transform.ones:
                products.append(write("Gemm", tile, stored, *bias, name=name))
            else:
                products.append(write("MatMul", tile, stored, name=name))
        stacked = write("Reshape", write("Concat", *products, axis=0), ints(len(products), -1))
        output = write("MatMul", transform.output.astype(np.float32), stacked)
        return write("Reshape", output, ints(-1, weight.shape[0]))

    def _pointwise(self, layer: str, rows: str) -> str:
        """Return a 1x1 convolution of rows with its bias."""
        weight, *bias = self._parameters[layer]
        matrix = self._write("Squeeze", weight, ints(2))
        return self._write("Gemm", rows, matrix, *bias, name=layer, transB=1)

    def _leaky(self, rows: str) -> str:
        return self._write("LeakyRelu", rows, alpha=LEAKY_SLOPE)

    def _pool(self, values: str, mask: str) -> str:
        """ANT_CO2's average over time of (B, T, width), 0 where the mask (B, T, 1) is false."""
        write, kernel = self._write, self._config.pool_kernel
        if kernel == 1:
            return values
        pooled = write(
            "AveragePool",
            write("Transpose", values, perm=[0, 2, 1]),
            kernel_shape=[kernel],
            pads=[kernel // 2, kernel // 2],
            count_include_pad=1,
        )
        return write("Where", mask, write("Transpose", pooled, perm=[0, 2, 1]), scalar(0.0))


def _declared(graph: onnx.GraphProto, names: list[str]) -> list[onnx.ValueInfoProto]:
    """Return the graph's declared outputs under other names."""
    declared = []
    for output, name in zip(graph.output, names, strict=True):
        info = onnx.ValueInfoProto()
        info.CopyFrom(output)
        info.name = name
        declared.append(info)
    return declared


def _renamed(original: onnx.NodeProto) -> onnx.NodeProto:
    """Return a node of the plain graph that leaves the names of the outputs to the choice."""
    node = onnx.NodeProto()
    node.CopyFrom(original)
    node.output[:] = [_plain_name(name) for name in node.output]
    return node


def _plain_name(name: str) -> str:
    return f"plain/{name}" if name in OUTPUT_NAMES else name
