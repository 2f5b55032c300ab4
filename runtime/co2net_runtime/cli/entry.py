"""The way into a command: Ctrl-C is one line and exit code 130 while it is still imported, too."""

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
            earlier = signal.getsignal(signal.SIGINT)
            if earlier is signal.default_int_handler:  # else our parent has chosen, as nohup does
                # an exception in the middle of an import comes out as any error at all
                signal.signal(signal.SIGINT, _leave)
            main = self.load()
            signal.signal(signal.SIGINT, earlier)
            main()
        except KeyboardInterrupt:
            _leave(signal.SIGINT, None)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    name = os.path.basename(sys.argv[0])  # noqa: PTH119  # without pathlib, as above
    if sys.stderr is not None:
        sys.stderr.write(f"{name}: interrupted\n")
        sys.stderr.flush()
    os._exit(_INTERRUPTED)  # nothing is open yet, and an import cannot be unwound
