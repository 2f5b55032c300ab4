"""TensorRT's Python module, and its errors."""

import contextlib
import ctypes
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from co2net_runtime.errors import BackendError, MissingDependencyError

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Arguments = ParamSpec("Arguments")

# errors kept of one call; the first say why
MAX_ERRORS = 20


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
    """Receives TensorRT's log: errors are kept for exceptions, the rest goes to logging.

    Its bindings say no in several ways: False, None, RuntimeError, TypeError for a null pointer.
    `ask` and `guard` make a BackendError of each. Each engine has its own, so that two at work at
    once are not blamed for each other's errors; TensorRT mentions that at its level INFO.
    """

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=MAX_ERRORS)
        self.logger = _new_logger(self._errors)

    def start(self, kind: "Callable[[trt.ILogger], Value]") -> Value:
        """Return a builder or a runtime that logs here.

        Raises BackendError if TensorRT does not start, for a driver that is too old, say.
        """
        self._errors.clear()
        try:
            return kind(self.logger)
        except (RuntimeError, TypeError) as error:
            reason = f"TensorRT does not start: {self._take(str(error))}"
            raise BackendError(f"{reason} (co2net-doctor tells more)") from error

    def ask(
        self,
        what: str,
        call: Callable[Arguments, Value | None],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Value:
        """Call a function of the bindings and return its result.

        Raises BackendError with what TensorRT logged if it gives None or False, or raises.
        """
        self._errors.clear()  # they belong to something else
        with self.guard(what):
            value = call(*arguments, **options)
        if value is None or value is False:
            raise BackendError(f"TensorRT refuses {what}: {self._take('it gives no reason')}")
        for message in self._errors:  # tactics that were passed over, for one
            logger.debug("TensorRT, without consequence: %s", message)
        return value

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Turn what the bindings raise inside into BackendError."""
        try:
            yield
        except (RuntimeError, TypeError) as error:
            raise BackendError(f"TensorRT refuses {what}: {self._take(str(error))}") from error

    def _take(self, otherwise: str) -> str:
        """Return the errors logged, and forget them; `otherwise` if there are none."""
        text = "; ".join(" ".join(message.split()) for message in self._errors)
        self._errors.clear()
        return text or otherwise


def _new_logger(errors: "deque[str]") -> "trt.ILogger":
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
