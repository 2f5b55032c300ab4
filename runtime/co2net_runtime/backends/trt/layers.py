"""What TensorRT made of a network: its layers after fusion, and the types they compute with."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from co2net_runtime.backends.trt.api import Messages
from co2net_runtime.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

# the inspector names a tensor's type "Half", or amid its format: "Row major linear FP16 format"
_TYPES = (
    ("bf16", re.compile("BF16|BFloat16", re.IGNORECASE)),
    ("fp16", re.compile("FP16|Half", re.IGNORECASE)),
    ("fp8", re.compile("FP8", re.IGNORECASE)),
    ("fp32", re.compile("FP32|Float", re.IGNORECASE)),
    ("int8", re.compile("Int8", re.IGNORECASE)),
    ("int64", re.compile("Int64", re.IGNORECASE)),
    ("int32", re.compile("Int32", re.IGNORECASE)),
    ("bool", re.compile("Bool", re.IGNORECASE)),
)

Layers = Mapping[str, Mapping[str, str]]


def inspect_layers(engine: "trt.ICudaEngine", messages: Messages) -> Layers:
    """Return by its name each layer's "kind", and the types that it "reads" and "writes".

    The engine must be built with detailed profiling. Nothing but a report depends on it: where the
    inspector says what we do not understand, there are no layers, and the log says why.
    """
    import tensorrt as trt

    try:
        inspector = messages.ask("an inspector", engine.create_engine_inspector)
        form = trt.LayerInformationFormat.JSON
        text = messages.ask("to inspect the engine", inspector.get_engine_information, form)
        return {one["Name"]: _layer(one) for one in json.loads(text)["Layers"]}
    except (BackendError, ValueError, KeyError, TypeError) as error:
        logger.info("the engine's layers cannot be told: %r", error)
        return {}


def summary(layers: Layers) -> str:
    """Return in words how many layers compute in which type: "38 layers read fp16, 4 int8"."""
    counts = Counter(layer["reads"] for layer in layers.values())
    (first, count), *others = counts.most_common() or [("", 0)]
    if not count:
        return ""
    return ", ".join([f"{count} layers read {first}", *(f"{n} {name}" for name, n in others)])


def _layer(described: Mapping[str, Any]) -> dict[str, str]:
    return {
        "kind": str(described.get("LayerType", "")),
        "reads": _type(described.get("Inputs", [])),
        "writes": _type(described.get("Outputs", [])),
    }


def _type(tensors: list[Mapping[str, Any]]) -> str:
    """Return the type of the first tensor, as it is called here."""
    text = str(tensors[0].get("Format/Datatype", "")) if tensors else ""
    return next((name for name, pattern in _TYPES if pattern.search(text)), text or "nothing")
