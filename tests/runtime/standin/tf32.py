"""Multiplications as tensor cores round them where TF32 is allowed."""

import numpy as np
import onnx
from onnx import numpy_helper

MULTIPLYING = ("Conv", "Gemm", "MatMul")


def rounded(content):
    """Return a model whose fp32 weights of multiplications have 10 bits behind the point."""
    model = onnx.load_from_string(content)
    weights = {node.input[1] for node in model.graph.node if node.op_type in MULTIPLYING}
    for one in model.graph.initializer:
        if one.name in weights and one.data_type == onnx.TensorProto.FLOAT:
            bits = numpy_helper.to_array(one).view(np.uint32)
            kept = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
            one.CopyFrom(numpy_helper.from_array(kept, one.name))
    return model.SerializeToString()
