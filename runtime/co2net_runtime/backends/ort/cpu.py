"""ONNX Runtime on the CPU: weights mapped from the file, and the plain form of optimized files."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from co2net_runtime.artefact.contract import MIN_ROWS_NAME, NEVER
from co2net_runtime.artefact.onnx_file import read_graph
from co2net_runtime.backends import Arrays

FOLDER_KEY = "session.model_external_initializers_file_folder_path"


class CpuSession:
    """A model file on the CPU; `run` may be called from several threads.

    The weights are not read but mapped: opening takes milliseconds, and only what runs is loaded.
    So the file must not be written to in place while it is in use; to replace it, rename another
    one over it. ONNX Runtime before 1.21 reads the file.
    """

    def __init__(
        self,
        onnxruntime: Any,
        path: str | os.PathLike[str],
        settings: Any,
        *,
        plain_form: bool,
        new_session: Callable[[str | bytes, Any], Any],
    ) -> None:
        """Open `path`.

        Args:
            onnxruntime: The module.
            path: The ONNX file.
            settings: SessionOptions.
            plain_form: Never run the fast form of a file optimized for the CPU, nor pack its
                weights.
            new_session: Makes a session of a model, a file's name or content, and settings.

        Raises:
            InputError: The file is missing or damaged.
        """
        graph = read_graph(path)
        if plain_form:
            # the value must outlive the session
            self._never = onnxruntime.OrtValue.ortvalue_from_numpy(np.array(NEVER))
            settings.add_initializer(MIN_ROWS_NAME, self._never)
            # packed weights are those of the fast form
            settings.add_session_config_entry("session.disable_prepacking", "1")
        if graph is not None and maps_weights(onnxruntime):
            settings.add_session_config_entry(FOLDER_KEY, str(graph.folder))
            self._session = new_session(graph.model, settings)
        else:
            self._session = new_session(os.fspath(path), settings)

    def run(self, names: Sequence[str], feeds: Arrays) -> list[Any]:
        """Run the model: input arrays by name -> the outputs called `names`."""
        values: list[Any] = self._session.run(names, dict(feeds))
        return values

    def get_session_options(self) -> Any:
        """Return the options of the session that runs."""
        return self._session.get_session_options()


def maps_weights(onnxruntime: Any) -> bool:
    """Return whether it takes a graph whose weights stay in a file: from 1.21 on."""
    major, minor = onnxruntime.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (1, 21)
