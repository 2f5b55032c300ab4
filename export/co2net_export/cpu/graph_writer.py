"""Writing ONNX nodes one after another, as one would write numpy."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Value = str | npt.NDArray[Any]


class GraphWriter:
    """Collects nodes and the constants that they read; `prefix` keeps its names apart.

    A value is the name of another node's output or of a graph input, or an array, which becomes a
    constant. Equal small constants are stored once.
    """

    def __init__(self, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._counts: Counter[str] = Counter()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def __call__(
        self, operator: str, *inputs: Value, name: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output; return the output's name."""
        return self.several(operator, *inputs, count=1, name=name, **attributes)[0]

    def several(
        self,
        operator: str,
        *inputs: Value,
        count: int,
        name: str | None = None,
        **attributes: Any,
    ) -> list[str]:
        """Add a node with `count` outputs; return the outputs' names."""
        if name is None:
            name = f"{operator}_{self._counts[operator]}"
            self._counts[operator] += 1
        name = self._prefix + name
        outputs = [f"{name}.out{index or ''}" for index in range(count)]
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(onnx.helper.make_node(operator, names, outputs, name, **attributes))
        return outputs

    def constant(self, value: npt.NDArray[Any], name: str | None = None) -> str:
        """Add a constant, unless an equal unnamed one is there; return its name."""
        key = (value.dtype.str, value.shape, value.tobytes()) if name is None else None
        if key is not None and key in self._constants:
            return self._constants[key]
        if name is None:
            name = f"constant_{self._counts['constant']}"
            self._counts["constant"] += 1
        name = self._prefix + name
        if key is not None:
            self._constants[key] = name
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def ints(*values: int) -> npt.NDArray[np.int64]:
    """Return a 1-D int64 constant: axes, sizes, shapes."""
    return np.array(values, np.int64)


def scalar(value: int | float) -> npt.NDArray[Any]:
    """Return a 0-D constant: int64 or float32."""
    return np.array(value, np.int64 if isinstance(value, int) else np.float32)
