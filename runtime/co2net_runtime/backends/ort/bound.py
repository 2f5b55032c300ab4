"""A session whose inputs and outputs lie in the device's memory during a run."""

import threading
from collections.abc import Sequence
from typing import Any

from co2net_runtime.backends import Arrays
from co2net_runtime.backends.device import Device


class BoundSession:
    """Runs a session so that each array crosses the bus once; calls take turns.

    The inputs' memory is kept for the next call of the same shapes: videos come sorted by length.
    """

    def __init__(self, onnxruntime: Any, session: Any, device: Device) -> None:
        """Run `session`, whose provider computes on `device`."""
        self._new_value = onnxruntime.OrtValue.ortvalue_from_numpy
        self._session = session
        self._place = device.kind, device.index
        self._inputs: dict[str, tuple[object, Any]] = {}
        self._lock = threading.Lock()

    def run(self, names: Sequence[str], feeds: Arrays) -> list[Any]:
        """Run the model: input arrays by name -> the outputs called `names`."""
        with self._lock:
            binding = self._session.io_binding()
            for name, array in feeds.items():
                kind, value = self._inputs.get(name, (None, None))
                if kind == (array.shape, array.dtype):
                    value.update_inplace(array)
                else:
                    value = self._new_value(array, *self._place)
                    self._inputs[name] = (array.shape, array.dtype), value
                binding.bind_ortvalue_input(name, value)
            for name in names:
                binding.bind_output(name, *self._place)
            self._session.run_with_iobinding(binding)
            values: list[Any] = binding.copy_outputs_to_cpu()
            return values
