"""The text of config.pbtxt, a protobuf message: how Triton runs a model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from co2net_runtime.artefact.contract import Contract

MODEL_PY = '''"""Answers with co2net, which must be installed where Triton runs."""

from co2net_runtime.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


# the artefact in the folder of a version
FILE = "model.onnx"
# the plain network's warm-up: a video of so many snippets, whose length lies in this file
WARM_UP, WARM_UP_FILE = 64, "length"


@dataclass(frozen=True)
class ServerOptions:
    """How Triton runs the model."""

    instances: int = 2  # processes that each hold the model; on GPUs, for each of them
    gpus: tuple[int, ...] | None = None  # that it runs on, () for all; None: on the CPU
    max_batch: int = 16  # requests that are run together
    max_queue: int = 256  # requests that may wait; more are refused at once
    queue_timeout_s: float = 30.0  # that a request may wait, then it is refused
    queue_delay_s: float = 0.002  # that a request waits for others to be run with


def python_config(
    name: str, contract: Contract, parameters: Mapping[str, str], options: ServerOptions
) -> str:
    """Return config.pbtxt of the Python backend: ragged batches, segments in the reply.

    Args:
        name: The model's name on the server.
        contract: Of the artefact.
        parameters: What model.py and clients read, by key.
        options: How Triton runs it.
    """
    return f"""\
name: {_quoted(name)}
backend: "python"
max_batch_size: {options.max_batch}
input [
  {{ name: "features" data_type: TYPE_FP32 dims: [ -1, {contract.feature_dim} ]
    allow_ragged_batch: true }}
]
output [
  {{ name: "segments" data_type: TYPE_FP64 dims: [ -1, 2 ] }},
  {{ name: "scores" data_type: TYPE_FP64 dims: [ -1 ] }},
  {{ name: "labels" data_type: TYPE_INT64 dims: [ -1 ] }},
  {{ name: "counts" data_type: TYPE_INT64 dims: [ 1 ] }}
]
{_scheduling(options)}
{_parameters(parameters)}
"""


def network_config(
    name: str,
    contract: Contract,
    parameters: Mapping[str, str],
    options: ServerOptions,
    accelerator: Mapping[str, str] | None,
    threads: int,
) -> str:
    """Return config.pbtxt of Triton's own ONNX Runtime: activations in the reply.

    Fields: https://github.com/triton-inference-server/onnxruntime_backend

    Args:
        name: As above, like `contract`, `parameters` and `options`.
        accelerator: Options of its TensorRT provider; None: without TensorRT.
        threads: Of an operator on the CPU.
    """
    lines = [
        f"name: {_quoted(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {options.max_batch}",
        "input [",
        f'  {{ name: "features" data_type: TYPE_FP32 dims: [ -1, {contract.feature_dim} ] }},',
        '  { name: "lengths" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }',
        "]",
        "output [",
        f'  {{ name: "cas" data_type: TYPE_FP32 dims: [ -1, {len(contract.classes) + 1} ] }},',
        '  { name: "attention" data_type: TYPE_FP32 dims: [ -1, 1 ] }',
        "]",
        _scheduling(options),
        "model_warmup [ {",
        '  name: "short" batch_size: 1',
        f'  inputs {{ key: "features" value: {{ data_type: TYPE_FP32 '
        f"dims: [ {WARM_UP}, {contract.feature_dim} ] zero_data: true }} }}",
        f'  inputs {{ key: "lengths" value: {{ data_type: TYPE_INT64 dims: [ 1 ] '
        f"input_data_file: {_quoted(WARM_UP_FILE)} }} }}",
        "} ]",
        _parameters({**parameters, "intra_op_thread_count": str(threads)}),
    ]
    if accelerator is not None:
        strings = [
            f"    parameters {{ key: {_quoted(key)} value: {_quoted(text)} }}"
            for key, text in accelerator.items()
        ]
        lines += [
            "optimization { execution_accelerators {",
            '  gpu_execution_accelerator: [ { name: "tensorrt"',
            *strings,
            "  } ]",
            "} }",
        ]
    return "\n".join([*lines, ""])


def _scheduling(options: ServerOptions) -> str:
    """Return the lines on instances, dynamic batches and the bounded queue."""
    kind = "KIND_CPU" if options.gpus is None else "KIND_GPU"
    gpus = f" gpus: [ {', '.join(map(str, options.gpus))} ]" if options.gpus else ""
    return f"""\
instance_group [ {{ kind: {kind} count: {options.instances}{gpus} }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {round(options.queue_delay_s * 1e6)}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {round(options.queue_timeout_s * 1e6)}
    max_queue_size: {options.max_queue}
  }}
}}"""


def _parameters(parameters: Mapping[str, str]) -> str:
    return "\n".join(
        f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(text)} }} }}"
        for key, text in parameters.items()
    )


def _quoted(text: str) -> str:
    """Return a string of protobuf's text format; JSON's escapes are among its own."""
    return json.dumps(text)
