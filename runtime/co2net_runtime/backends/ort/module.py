"""The module onnxruntime, imported in one place: it must not call home."""

import importlib
import os
from types import ModuleType
from typing import Any

from co2net_runtime.errors import BackendError, MissingDependencyError

# With it, onnxruntime 1.32 neither writes a device id under the home folder nor looks for its
# maker's hosts. It is read when the module is imported.
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off. Raises ImportError or OSError."""
    os.environ[NO_TELEMETRY] = "1"
    return importlib.import_module("onnxruntime")


def load_onnxruntime() -> Any:
    """Import onnxruntime.

    Raises MissingDependencyError where it is not installed, BackendError where it is broken.
    """
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu", "running a model") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # left over when one of two wheels that share the folder is uninstalled
        raise BackendError(
            "onnxruntime is installed but incomplete: co2net-doctor tells the repair"
        )
    return onnxruntime
