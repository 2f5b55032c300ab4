"""The way into a command: a signal is one line and exit code 130 while it is still imported."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # every import here is a moment in which Ctrl-C is a traceback
    from types import FrameType
    from typing import NoReturn

_INTERRUPTED = 130
_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Entry:
    """A command by its module, which is imported when the command is run.

    Example:
        infer = Entry("co2net_runtime.cli.infer")  # co2net-infer in [project.scripts]
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def load(self) -> Any:
        """Import the module; return its click command, `main`."""
        return importlib.import_module(self._module).main

    def __call__(self) -> None:
        """Run the command with the arguments of the process."""
        try:
            for number, default in _DEFAULTS.items():
                if signal.getsignal(number) is default:  # else our parent chose, as nohup does
                    # an exception in the middle of an import comes out as any error at all
                    signal.signal(number, leave)  # until the command sets its own
            self.load()()
        except KeyboardInterrupt:
            leave(signal.SIGINT, None)


def leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the process at once: what is being imported cannot be unwound."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119  # without pathlib, as above
    if sys.stderr is not None:
        sys.stderr.write(f"{name}: interrupted\n")
        sys.stderr.flush()
    os._exit(_INTERRUPTED)  # nothing is open yet
