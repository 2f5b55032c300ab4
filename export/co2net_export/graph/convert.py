"""Model -> ONNX graph: torch's exporter, then names from the checkpoint and nothing else left."""

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import onnx
import torch

from co2net.model import CO2Net
from co2net_export.graph.inference_model import InferenceModel
from co2net_export.graph.live_model import TAIL, LiveModel
from co2net_runtime.artefact.contract import (
    INPUT_NAMES,
    LIVE_INPUT_NAMES,
    LIVE_OUTPUT_NAMES,
    OUTPUT_NAMES,
    GraphKind,
)
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError

OPSETS = range(18, 22)
DEFAULT_OPSET = 20
# opset 21 came with IR 10; torch's exporter writes 10 for all opsets, and no engine minds
IR_VERSION = 10

CONTEXT_NAME = "context"


GRAPH_DOCS: Mapping[GraphKind, str] = MappingProxyType(
    {
        "whole": "CO2-Net on whole videos: snippet features to class logits and attention.",
        "chunk": "CO2-Net on a chunk of a video, with the temporal mean of the whole video.",
        "live": "CO2-Net on the next snippets of a stream; outputs lag 3 snippets.",
    }
)
VALUE_DOCS: Mapping[str, str] = MappingProxyType(
    {
        "features": "Snippet features, RGB channels first, then flow; padding may hold anything.",
        "lengths": "Snippets of each row that are not padding.",
        "position": "Index in the stream of the first snippet.",
        "length": "Snippets of the whole stream; a huge number while it is open.",
        CONTEXT_NAME: "Mean of the features over the video.",
        "state": "The previous step's next_state; zeros at first.",
        "cas": "Class logits of each snippet, background last; 0 in the padding.",
        "attention": "How likely each snippet belongs to an action, 0 to 1; 0 in the padding.",
        "next_state": "The state for the next step.",
    }
)


def input_names(kind: GraphKind) -> tuple[str, ...]:
    """Return the graph's input names; the chunk graph has the temporal mean as a third one."""
    if kind == "live":
        return LIVE_INPUT_NAMES
    return INPUT_NAMES if kind == "whole" else (*INPUT_NAMES, CONTEXT_NAME)


def output_names(kind: GraphKind) -> tuple[str, ...]:
    """Return the graph's output names."""
    return LIVE_OUTPUT_NAMES if kind == "live" else OUTPUT_NAMES


def state_dim(model: CO2Net) -> int:
    """Return the width of the state that the live graph carries from step to step."""
    return sum(LiveModel(model).widths)


def convert(
    model: CO2Net, *, kind: GraphKind = "whole", opset: int = DEFAULT_OPSET
) -> onnx.ModelProto:
    """Return the fp32 inference graph of `model`, batch and time dynamic.

    kind: "whole" for whole videos (features, lengths), "chunk" for chunks of a video (features,
    lengths, context), "live" for the next snippets of streams (live_model.py). Layers and
    weights bear the names of the checkpoint; values between them are named after the layer that
    makes them. Equal models give equal bytes.

    Raises InputError for an opset out of range, MissingDependencyError if torch's exporter is
    not there, BackendError if it fails.
    """
    if opset not in OPSETS:
        raise InputError(
            f"opset {opset}: the exporter writes {OPSETS[0]} to {OPSETS[-1]} "
            f"(default {DEFAULT_OPSET})"
        )
    program = _torch_export(model, kind, opset)
    tidy = _tidy(program, model, kind)
    if tidy.opset_import[0].version != opset:
        raise BackendError(
            f"torch {torch.__version__} wrote opset {tidy.opset_import[0].version}, not {opset}: "
            f"export with --opset {tidy.opset_import[0].version} or update torch and onnxscript"
        )
    return tidy


def _torch_export(model: CO2Net, kind: GraphKind, opset: int) -> onnx.ModelProto:
    try:
        import onnxscript  # noqa: F401  # torch's exporter imports it late and obscurely
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "export", "the ONNX export") from error
    # sizes that torch.export does not specialize on: 1 would become a constant
    batch, time, dim = 2, 7, model.config.feature_dim
    examples = {
        "features": torch.zeros(batch, time, dim),
        "lengths": torch.full((batch,), time),
        CONTEXT_NAME: torch.zeros(batch, dim),
    }
    adapter: torch.nn.Module = InferenceModel(model)
    if kind == "live":
        adapter = LiveModel(model)
        # two tensors: one object would become one input
        examples["position"], examples["length"] = (torch.full((batch,), time) for _ in range(2))
        examples["state"] = torch.zeros(batch, TAIL, state_dim(model))
    names = input_names(kind)
    try:
        with _silence():
            program = torch.onnx.export(
                adapter,
                tuple(examples[name] for name in names),
                input_names=names,
                output_names=output_names(kind),
                dynamic_shapes=tuple(
                    {0: "batch", 1: "time"} if name == "features" else {0: "batch"}
                    for name in names
                ),
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except (ImportError, AttributeError, TypeError) as error:
        raise MissingDependencyError(
            "torch >= 2.6 with its ONNX exporter", "export", "the ONNX export"
        ) from error
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise BackendError(
            f"torch {torch.__version__} cannot export the model: {reason}"
        ) from error
    assert program is not None
    return program.model_proto


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's messages about its own internals off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _tidy(exported: onnx.ModelProto, model: CO2Net, kind: GraphKind) -> onnx.ModelProto:
    """Return a clean copy: our names, declared shapes, no traces of the exporting machine.

    The exporter writes stack traces with absolute paths into every node, and names values after
    its own intermediate representation, which changes from version to version.
    """
    weights = {tensor.name for tensor in exported.graph.initializer if "." in tensor.name}
    values = {name: name for name in (*weights, *input_names(kind), *output_names(kind))}
    counts: Counter[str] = Counter()
    nodes = []
    for node in exported.graph.node:
        layers = [name.removesuffix(".weight") for name in node.input if name in weights]
        name = layers[0] if layers else f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += not layers
        for value in node.input:
            if value not in values:
                values[value] = f"constant_{counts['constant']}"
                counts["constant"] += 1
        for index, value in enumerate(node.output):
            values.setdefault(value, f"{name}.out{index or ''}")
        clean = onnx.helper.make_node(
            node.op_type,
            [values[value] for value in node.input],
            [values[value] for value in node.output],
            name=name,
        )
        clean.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
        nodes.append(clean)
    for tensor in exported.graph.initializer:
        tensor.name = values[tensor.name]
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    graph = onnx.helper.make_graph(
        nodes,
        "co2net",
        *_interface(model, kind),
        list(exported.graph.initializer),
        doc_string=GRAPH_DOCS[kind],
    )
    return onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", exported.opset_import[0].version)],
        ir_version=IR_VERSION,
    )


def _interface(
    model: CO2Net, kind: GraphKind
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Return the declared inputs and outputs of the graph."""
    config = model.config
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    state: list[str | int] = ["batch", TAIL, state_dim(model)]
    values: dict[str, tuple[int, list[str | int]]] = {
        "features": (real, ["batch", "time", config.feature_dim]),
        "lengths": (whole, ["batch"]),
        "position": (whole, ["batch"]),
        "length": (whole, ["batch"]),
        CONTEXT_NAME: (real, ["batch", config.feature_dim]),
        "state": (real, state),
        "cas": (real, ["batch", "time", config.classes + 1]),
        "attention": (real, ["batch", "time", 1]),
        "next_state": (real, state),
    }
    inputs, outputs = (
        [
            onnx.helper.make_tensor_value_info(name, *values[name], doc_string=VALUE_DOCS[name])
            for name in names
        ]
        for names in (input_names(kind), output_names(kind))
    )
    return inputs, outputs
