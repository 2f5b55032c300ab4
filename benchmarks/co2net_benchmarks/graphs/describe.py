"""The content of an ONNX file: contract, layers and their weights, arithmetic, soundness."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from co2net_benchmarks.graphs.branches import graphs_of
from co2net_export.graph.shapes import Value, infer_values, stored_bytes
from co2net_runtime.artefact.contract import METADATA_KEY, Contract
from co2net_runtime.errors import InputError
from co2net_runtime.files.inputs import require_file

_LAYER_OPS = ("Conv", "Gemm", "MatMul")
# what may stand between a layer and its stored weight without changing how many there are
_PASSES = ("DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Identity")
# lengths between which the arithmetic of one snippet is measured: multiples of any tiling
_LENGTHS = (960, 1920)


@dataclass(frozen=True)
class Layer:
    """A node with a weight, described as it is stored."""

    name: str
    op: str  # operator
    weight_type: str
    weight_shape: tuple[int, ...]
    weight_bytes: int


@dataclass(frozen=True)
class Description:
    """The content of an ONNX file."""

    path: str
    file_bytes: int  # of the file itself
    external_bytes: int  # of the weights stored beside it
    contract: Contract | None  # None: not a file of co2net-export
    inputs: Mapping[str, str]  # type and shape by name, with the names of dynamic dimensions
    outputs: Mapping[str, str]
    producer: str
    opset: int  # of the default domain
    ir_version: int
    parameters: int  # stored numbers of all types
    weight_bytes: Mapping[str, int]  # their bytes by type
    layers: tuple[Layer, ...]
    # multiply-accumulates of the layers for one more snippet, and for a video whatever its length;
    # of the plain branch where there are several; None where shape inference fails
    macs_per_snippet: int | None
    macs_per_video: int | None
    nodes: Mapping[str, int]  # number by type, in branches too, most frequent first
    checker_error: str | None  # objection of ONNX's checker, None if it has none
    inference_error: str | None  # objection of strict shape inference, None if it has none


def describe(path: str | os.PathLike[str]) -> Description:
    """Read the file, without running it; weights stored beside it are counted, not read.

    Raises:
        InputError: It is missing or not an ONNX file.
        ContractError: Its contract is damaged.
    """
    file = Path(path)
    model = _read(file)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    has_contract = METADATA_KEY in metadata
    by_type: Counter[str] = Counter()
    for tensor in tensors.values():
        by_type[_type(tensor)] += stored_bytes(tensor)
    checker_error = _objection(file, full=False)
    inference_error = checker_error or _objection(file, full=True)
    per_snippet, per_video = (None, None) if inference_error else _arithmetic(model)
    return Description(
        path=str(path),
        file_bytes=file.stat().st_size,
        external_bytes=sum(stored_bytes(t) for t in tensors.values() if t.external_data),
        contract=Contract.from_metadata(metadata, str(path)) if has_contract else None,
        inputs=_declared(model.graph.input),
        outputs=_declared(model.graph.output),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        opset=max((entry.version for entry in model.opset_import if not entry.domain), default=0),
        ir_version=model.ir_version,
        parameters=sum(math.prod(tensor.dims) for tensor in tensors.values()),
        weight_bytes=dict(by_type.most_common()),
        layers=tuple(_layers(model, tensors)),
        macs_per_snippet=per_snippet,
        macs_per_video=per_video,
        nodes=dict(Counter(node.op_type for node in _nodes(model.graph)).most_common()),
        checker_error=checker_error,
        inference_error=inference_error,
    )


def _read(file: Path) -> onnx.ModelProto:
    require_file(file)
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # each protobuf implementation has a DecodeError of its own
        raise InputError(f"{file}: damaged, or not an ONNX file") from error
    if not model.graph.node:
        raise InputError(f"{file}: damaged, or not an ONNX file: there is no graph in it")
    return model


def _layers(model: onnx.ModelProto, tensors: Mapping[str, onnx.TensorProto]) -> list[Layer]:
    nodes = list(_nodes(model.graph))
    producers = {name: node for node in nodes for name in node.output}
    layers = []
    for node in nodes:
        if node.op_type not in _LAYER_OPS:
            continue
        name = node.input[1]
        while name in producers and producers[name].op_type in _PASSES:
            name = producers[name].input[0]
        if name in tensors:
            weight = tensors[name]
            shape = tuple(weight.dims)
            layers.append(
                Layer(node.name, node.op_type, _type(weight), shape, stored_bytes(weight))
            )
    return layers


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _arithmetic(model: onnx.ModelProto) -> tuple[int | None, int | None]:
    """Return the layers' multiply-accumulates for one more snippet and for a whole video."""
    model = graphs_of(model)[0]
    totals = []
    for length in _LENGTHS:
        values = infer_values(model, {"batch": 1, "time": length})
        counts = [_macs(node, values) for node in model.graph.node if node.op_type in _LAYER_OPS]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None, None
        totals.append(sum(known))
    per_snippet = (totals[1] - totals[0]) // (_LENGTHS[1] - _LENGTHS[0])
    return per_snippet, totals[0] - per_snippet * _LENGTHS[0]


def _macs(node: onnx.NodeProto, values: Mapping[str, Value]) -> int | None:
    """Return the node's multiply-accumulates: outputs times terms of each output's sum."""
    output, weight = values[node.output[0]].shape, values[node.input[1]].shape
    if output is None or weight is None or None in output or None in weight:
        return None
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    if node.op_type == "Conv":
        terms = weight[1:]
    else:
        terms = weight[-1:] if transposed else weight[-2:-1]
    return math.prod(size for size in (*output, *terms) if size is not None)


def _objection(file: Path, *, full: bool) -> str | None:
    try:
        onnx.checker.check_model(file, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error).strip().splitlines()[0]
    return None


def _declared(values: Iterable[onnx.ValueInfoProto]) -> dict[str, str]:
    """Return "float32 (batch, time, 2048)" by name."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        sizes = (dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        found[value.name] = f"{kind} ({', '.join(sizes)})"
    return found


def _type(tensor: onnx.TensorProto) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
