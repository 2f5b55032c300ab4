"""TensorRT's Python module, and how it says no."""

import contextlib
import ctypes
import logging
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from co2net_runtime.errors import BackendError, MissingDependencyError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


def load_tensorrt() -> ModuleType:
    """Import tensorrt.

    Raises MissingDependencyError where it is not installed, BackendError where its libraries do
    not load.
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensorrt", "tensorrt", "running an engine") from error
    except (ImportError, OSError) as error:
        raise BackendError(f"tensorrt does not load: {error} (co2net-doctor tells more)") from error
    if not hasattr(tensorrt, "Builder"):
        # type stubs alone leave a folder that imports as an empty package
        raise MissingDependencyError("tensorrt", "tensorrt", "running an engine")
    return tensorrt


def preload_tensorrt() -> None:
    """Load the libraries of a TensorRT that pip installed, if there is one: importing it does."""
    with contextlib.suppress(MissingDependencyError, BackendError):
        load_tensorrt()


def nvinfer_version(majors: Sequence[int] = (11, 10)) -> str:
    """Return the version of the first TensorRT library that loads, "" for none."""
    preload_tensorrt()
    for major in majors:
        try:
            number = ctypes.CDLL(f"libnvinfer.so.{major}").getInferLibVersion()
        except (OSError, AttributeError):
            continue
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return ""


class Messages:
    """Takes what TensorRT logs: errors are kept for exceptions, the rest goes to logging."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self.logger = _new_logger(self._errors)

    def start(self, kind: "Callable[[trt.ILogger], Value]") -> Value:
        """Return a builder or a runtime that logs here.

        Raises BackendError if TensorRT does not start, for a driver that is too old, say.
        """
        try:
            return kind(self.logger)
        except TypeError as error:  # so the bindings speak of a null pointer
            raise BackendError(
                f"TensorRT does not start: {self.take()} (co2net-doctor tells more)"
            ) from error

    def take(self) -> str:
        """Return the errors since the last call, and forget them."""
        text = "; ".join(" ".join(message.split()) for message in self._errors)
        self._errors.clear()
        return text or "TensorRT gives no reason"


def _new_logger(errors: list[str]) -> "trt.ILogger":
    import tensorrt as trt

    levels = {
        trt.ILogger.Severity.WARNING: logging.INFO,  # it warns of much that is as it should be
        trt.ILogger.Severity.INFO: logging.DEBUG,
        trt.ILogger.Severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants it by name

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in levels:
                logger.log(levels[severity], "%s", msg)
            else:
                errors.append(msg)

    return Logger()
