"""A model of one matrix: wide features, and next to no work."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from co2net_runtime.artefact.contract import METADATA_KEY, Contract


def write_planted(path, width):
    """Write an artefact whose attention and logits are sums of the features' first channels."""
    classes = ("Run", "Jump", "Throw")
    weights = np.zeros((width, 5), np.float32)
    weights[range(5), range(5)] = 3
    axes = ["batch", "time"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["all"]),
            helper.make_node("Split", ["all", "sizes"], ["cas", "logit"], axis=2),
            helper.make_node("Sigmoid", ["logit"], ["attention"]),
        ],
        "planted",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [*axes, width]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, axes[:1]),
        ],
        [
            helper.make_tensor_value_info("cas", TensorProto.FLOAT, [*axes, 4]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, [*axes, 1]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([4, 1]), "sizes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    contract = Contract(classes, width // 2, width // 2, 18, "0" * 64)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return path
