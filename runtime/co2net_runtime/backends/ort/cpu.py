"""ONNX Runtime on the CPU: weights mapped from the file, and the fast form once it pays."""

import logging
import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import MIN_ROWS, MIN_ROWS_NAME
from co2net_runtime.artefact.onnx_file import read_graph
from co2net_runtime.backends import Arrays

logger = logging.getLogger(__name__)

# The fast form takes about 0.3 s to open (its weights are packed for the matrix products) and
# saves 0.13 ms a snippet on 2 cores: so many snippets pay for it.
OPENING_ROWS = 2000
NEVER = 2**62

FOLDER_KEY = "session.model_external_initializers_file_folder_path"


class CpuSession:
    """A model file on the CPU; `run` may be called from several threads.

    The weights are not read but mapped: opening takes milliseconds, and only what runs is loaded.
    So the file must not be written to in place while it is in use; to replace it, rename another
    one over it. ONNX Runtime before 1.21 reads the file.

    A file optimised for the CPU is first opened so that it runs in its plain form alone. Calls
    that would have gained from the fast form are counted, and when their snippets have come to
    OPENING_ROWS, the whole file is opened and takes over.
    """

    def __init__(
        self,
        onnxruntime: Any,
        path: str | os.PathLike[str],
        *,
        two_forms: bool,
        new_options: Callable[[], Any],
        open_session: Callable[[str | bytes, Any], Any],
    ) -> None:
        """Open `path`. two_forms: it is optimised for the CPU.

        Raises InputError if the file is missing or damaged, and what `open_session` raises.
        """
        self._graph = read_graph(path)
        self._maps = maps_weights(onnxruntime)
        self._new_options = new_options
        self._open_session = open_session
        self._switching = Lock()
        self._rows_until_fast: int | None = OPENING_ROWS if two_forms else None
        options = new_options()
        if two_forms:
            # the value must outlive the session
            self._never = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(NEVER))
            options.add_initializer(MIN_ROWS_NAME, self._never)
            # packed weights are those of the fast form
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._session = self._open(options)

    def run(self, names: Sequence[str], feeds: Arrays) -> list[Any]:
        """Run the model: input arrays by name -> the outputs called `names`."""
        if self._rows_until_fast is not None:
            self._count(feeds)
        values: list[Any] = self._session.run(names, dict(feeds))
        return values

    def get_session_options(self) -> Any:
        """Return the options of the session that runs."""
        return self._session.get_session_options()

    def _count(self, feeds: Arrays) -> None:
        rows = int(feeds["lengths"].sum()) + len(feeds["lengths"])
        if rows < MIN_ROWS:
            return
        with self._switching:
            if self._rows_until_fast is None:
                return
            self._rows_until_fast -= rows
            if self._rows_until_fast > 0:
                return
            self._rows_until_fast = None
            if self._graph.is_current():
                self._session = self._open(self._new_options())
            else:
                logger.warning(
                    "%s was replaced while in use: its old content goes on in the plain form",
                    self._graph.folder / self._graph.file,
                )

    def _open(self, options: Any) -> Any:
        graph = self._graph
        if not self._maps:
            return self._open_session(str(graph.folder / graph.file), options)
        options.add_session_config_entry(FOLDER_KEY, str(graph.folder))
        return self._open_session(graph.model, options)


def maps_weights(onnxruntime: Any) -> bool:
    """Return whether it takes a graph whose weights stay in a file: from 1.21 on."""
    major, minor = onnxruntime.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (1, 21)
