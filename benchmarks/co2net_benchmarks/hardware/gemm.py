"""This machine's best float32 matrix multiplication: the bound of a network's speed."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_SIZE = 2048
_SECONDS = 0.5


def gemm_peaks(threads: int | None = None) -> dict[str, float]:
    """Return FLOP/s of a 2048 x 2048 x 2048 float32 product, the best of many, by library.

    numpy always; ONNX Runtime and PyTorch where they are installed. Run it in a process of its
    own: the libraries' threads would slow down whatever comes after.
    """
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, _SIZE, _SIZE), dtype=np.float32)
    peaks = {"numpy": _best(lambda: left @ right)}
    if _installed("onnxruntime") and _installed("onnx"):
        session = _matmul_session(right, threads)
        peaks["onnxruntime"] = _best(lambda: session.run(None, {"left": left}))
    if _installed("torch"):
        import torch

        if threads:
            torch.set_num_threads(threads)
        a, b = torch.from_numpy(left), torch.from_numpy(right)
        peaks["torch"] = _best(lambda: a @ b)
    return peaks


def _best(multiply: Callable[[], Any]) -> float:
    multiply()
    shortest, end = float("inf"), time.perf_counter() + _SECONDS
    while (start := time.perf_counter()) < end:
        multiply()
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * _SIZE**3 / shortest


def _matmul_session(right: np.ndarray[Any, np.dtype[np.float32]], threads: int | None) -> Any:
    import onnx
    import onnxruntime

    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["left", "right"], ["product"])],
        "gemm",
        [onnx.helper.make_tensor_value_info("left", real, [_SIZE, _SIZE])],
        [onnx.helper.make_tensor_value_info("product", real, [_SIZE, _SIZE])],
        # a constant, so that the engine packs it once, as it does with weights
        [onnx.numpy_helper.from_array(right, "right")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
