"""ONNX Runtime on the CPU, as the reference engine of the export."""

import os
import tempfile
from pathlib import Path
from typing import Any

import onnx

from co2net_export.graph.write import write_model
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
