"""The backbones that all cameras of a process share, run by one thread in order of arrival."""

import queue
import threading
from concurrent.futures import Future

from co2net_runtime.features import Features
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.snippets import Clip, ClipBuilder, Recipe

_Item = tuple[Clip, "Future[Features]"]


class CameraNetwork:
    """Runs the clips of all cameras; each camera bounds how many of its own wait.

    Example:
        with CameraNetwork(Extractor.open("rgb.onnx", "flow.onnx")) as network:
            camera = Camera("rtsp://door/stream", network)
    """

    def __init__(self, extractor: Extractor) -> None:
        """Start; the extractor is closed with it."""
        self._extractor = extractor
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="co2net-cameras", daemon=True)
        self._thread.start()

    @property
    def recipe(self) -> Recipe:
        """How the ticks of cameras are prepared."""
        return self._extractor.recipe

    def builder(self) -> ClipBuilder:
        """Return the builder of clips of one camera's ticks."""
        return self._extractor.builder()

    def submit(self, clip: Clip) -> "Future[Features]":
        """Return the coming feature row (1, width) of a clip; it raises what the engine raises."""
        row: Future[Features] = Future()
        self._waiting.put((clip, row))
        return row

    def close(self) -> None:
        """Stop, and free the backbones; what waits is given up."""
        while not self._waiting.empty():
            self._waiting.get()
        self._waiting.put(None)
        self._thread.join()
        self._extractor.close()

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                clips = [clip for clip, _ in batch]
                found = [row for block in self._extractor.run(clips) for row in block]
            except Exception as error:  # raised again where the rows are taken
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), row in zip(batch, found, strict=True):
                future.set_result(row[None])

    def _next_batch(self) -> list[_Item]:
        """Wait for a clip; return it and those that fit into its batch. Empty: stop."""
        batch: list[_Item] = []
        while (item := self._waiting.get()) is not None:
            batch.append(item)
            if len(batch) == self._extractor.rgb.batch or self._waiting.empty():
                return batch
        return []

    def __enter__(self) -> "CameraNetwork":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
