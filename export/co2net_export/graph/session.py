"""Engines on the CPU that prove an export: ONNX Runtime as it comes, and bfloat16."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

from co2net_export.graph.write import write_model
from co2net_runtime.artefact.contract import METADATA_KEY, Contract
from co2net_runtime.backends import Arrays, Backend, EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.errors import BackendError, MissingDependencyError


def open_session(path: str | os.PathLike[str]) -> Any:
    """Open a file in ONNX Runtime on the CPU, with its defaults.

    Raises BackendError if the graph is refused, MissingDependencyError without ONNX Runtime.
    """
    # it would write a device id under the home folder and call its maker's hosts
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu", "proving the export") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = str(error).strip().splitlines()[0]
        raise BackendError(f"ONNX Runtime refuses the exported graph: {reason}") from error


def open_graph(model: onnx.ModelProto) -> Any:
    """Open a graph that has no file; errors as for `open_session`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        # protobuf could not hand over more than 2 GB in memory
        write_model(model, path, external_data=True)
        return open_session(path)


@contextmanager
def bf16_session(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a file in the engine that co2net-infer --bf16 takes, behind the calls of a session.

    Raises BackendError if this processor does not compute in bfloat16, MissingDependencyError if
    the engine is not installed.
    """
    with tempfile.TemporaryDirectory() as cache:
        options = EngineOptions(device="cpu", bf16=True, cache=cache)
        with open_backend(path, options) as backend:
            yield _BackendSession(backend)


class _BackendSession:
    """As much of ONNX Runtime's session as a parity check calls, in any engine."""

    def __init__(self, backend: Backend[Contract]) -> None:
        self._backend = backend

    def run(self, names: Sequence[str], feeds: Arrays) -> list[Any]:
        outputs = self._backend.infer(feeds)
        return [outputs[name] for name in names]

    def get_modelmeta(self) -> SimpleNamespace:
        metadata = {METADATA_KEY: self._backend.contract.to_json()}
        return SimpleNamespace(custom_metadata_map=metadata)
