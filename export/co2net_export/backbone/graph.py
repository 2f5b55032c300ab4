"""I3D -> ONNX graph, written node by node.

torch's exporter takes a minute for this network, leaves Pad nodes before the max pooling, which
TensorRT does not take, and writes stack traces. The network is 57 convolutions in a row: written
from its end-points, padding is an attribute of each node, and equal weights give equal bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn.utils.fusion import fuse_conv_bn_weights

from co2net.backbone.i3d import AVERAGED, BLOCKS, I3D, POOLS, ConvUnit, same_padding
from co2net_export.graph.convert import IR_VERSION
from co2net_runtime.artefact.backbone import CLIPS_INPUT, FEATURES_OUTPUT, LOGITS_OUTPUT

Sizes = tuple[int, int, int]


def i3d_graph(model: I3D, clip: Sizes, *, logits: bool = False, opset: int = 20) -> onnx.ModelProto:
    """Return the fp32 graph of an I3D network, the batch axis free.

    BatchNorm is folded into the convolutions. Max pooling pads with minus infinity where the
    network pads with zeros, which is the same: what it reads is never negative.

    Args:
        model: The network in eval mode.
        clip: Frames, height and width of a clip; (16, 224, 224) as published.
        logits: Add the class scores as a second output.
        opset: ONNX opset.

    Returns:
        A model with input clips (B, channels, *clip) and outputs features (B, width) and, if
        wanted, logits (B, classes), all float32. Layers and weights bear the names of the state
        dict.
    """
    writer = _Writer(clip)
    x = CLIPS_INPUT
    for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *BLOCKS):
        if name in BLOCKS:
            x = _block(writer, model, name, x)
        else:
            x = writer.unit(name, model.get_submodule(name), x)
        if name in POOLS:
            pool, kernel, stride = POOLS[name]
            x = writer.max_pool(pool, x, kernel, stride)
    writer.features(x)
    outputs = {FEATURES_OUTPUT: model.width}
    if logits:
        writer.logits(model)
        outputs[LOGITS_OUTPUT] = model.classes
    graph = helper.make_graph(
        writer.nodes,
        "i3d",
        [_value(CLIPS_INPUT, model.channels, *clip)],
        [_value(name, width) for name, width in outputs.items()],
        writer.tensors,
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
        producer_name="co2net",
    )


def _block(writer: "_Writer", model: I3D, name: str, x: str) -> str:
    def unit(branch: str, value: str) -> str:
        path = f"{name}.{branch}"
        return writer.unit(path, model.get_submodule(path), value)

    pooled = writer.max_pool(f"{name}.pool", x, (3, 3, 3), (1, 1, 1))
    branches = [
        unit("b0", x),
        unit("b1b", unit("b1a", x)),
        unit("b2b", unit("b2a", x)),
        unit("b3b", pooled),
    ]
    return writer.node("Concat", f"{name}.concat", branches, axis=1)


class _Writer:
    """Collects nodes and weights, and follows the sizes of what flows from node to node."""

    def __init__(self, clip: Sizes) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._sizes = {CLIPS_INPUT: clip}

    def unit(self, name: str, module: torch.nn.Module, x: str) -> str:
        """Add a convolution with BatchNorm folded into it, and its ReLU."""
        assert isinstance(module, ConvUnit)
        conv, norm = module.conv3d, module.bn
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight.double(), None,
            mean.double(), variance.double(), norm.eps,
            norm.weight.double(), norm.bias.double(),
        )  # fmt: skip
        layer = f"{name}.conv3d"
        inputs = [x, self._tensor(f"{layer}.weight", weight), self._tensor(f"{layer}.bias", bias)]
        kernel, stride = _three(conv.kernel_size), _three(conv.stride)
        out = self._windowed("Conv", layer, inputs, kernel, stride)
        return self.node("Relu", f"{name}.relu", [out])

    def max_pool(self, name: str, x: str, kernel: Sizes, stride: Sizes) -> str:
        """Add TF-SAME max pooling."""
        return self._windowed("MaxPool", name, [x], kernel, stride)

    def features(self, x: str) -> None:
        """Add the average over the last end-point, as rows."""
        out = self.node("AveragePool", "avg_pool", [x], kernel_shape=AVERAGED)
        if self._sizes[x] != AVERAGED:
            out = self.node("GlobalAveragePool", "positions", [out])
        self.node("Flatten", "rows", [out], output=FEATURES_OUTPUT, axis=1)

    def logits(self, model: I3D) -> None:
        """Add the classifier."""
        conv = model.logits.conv3d
        assert conv.bias is not None
        weight = self._tensor("logits.conv3d.weight", conv.weight.flatten(1))
        inputs = [FEATURES_OUTPUT, weight, self._tensor("logits.conv3d.bias", conv.bias)]
        self.node("Gemm", "logits.conv3d", inputs, output=LOGITS_OUTPUT, transB=1)

    def node(
        self,
        operator: str,
        name: str,
        inputs: Sequence[str],
        *,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node that keeps its first input's sizes; return its output's name."""
        value = output or f"{name}.out"
        self.nodes.append(helper.make_node(operator, inputs, [value], name=name, **attributes))
        self._sizes[value] = self._sizes[inputs[0]]
        return value

    def _windowed(
        self, operator: str, name: str, inputs: Sequence[str], kernel: Sizes, stride: Sizes
    ) -> str:
        sizes = self._sizes[inputs[0]]
        pads = [
            same_padding(size, length, step)
            for size, length, step in zip(sizes, kernel, stride, strict=True)
        ]
        out = self.node(
            operator,
            name,
            inputs,
            kernel_shape=kernel,
            strides=stride,
            pads=[front for front, _ in pads] + [behind for _, behind in pads],
        )
        first, second, third = (-(-size // step) for size, step in zip(sizes, stride, strict=True))
        self._sizes[out] = (first, second, third)
        return out

    def _tensor(self, name: str, value: torch.Tensor) -> str:
        array: npt.NDArray[np.float32] = value.detach().float().numpy()
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _three(sizes: Sequence[int]) -> Sizes:
    first, second, third = sizes
    return first, second, third


def _value(name: str, *sizes: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes])
