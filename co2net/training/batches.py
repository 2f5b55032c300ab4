"""Batches of features, drawn and resampled in a thread while the network trains."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from co2net.training.sampling import BatchSampler

AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """The data of one iteration, on the CPU, pairs first."""

    features: Tensor  # (B, S, D) float32
    labels: Tensor  # (B, C) float32
    videos: tuple[str, ...]  # B names
    sampler_state: Mapping[str, Any]  # of the sampler after this batch: it draws the next one


class BatchLoader:
    """Endless batches; enter it to start the thread.

    Args:
        sampler: Plans the batches.
        names: Of the N training videos.
        labels: (N, C) float32.
        read: Returns the features (T, D) of a video by name, float32 or float16, memory-mapped or
            not; they are cast batch by batch.
        pinned: Put batches into page-locked memory, from which CUDA copies without waiting.
    """

    def __init__(
        self,
        sampler: BatchSampler,
        names: Sequence[str],
        labels: npt.NDArray[np.float32],
        read: Callable[[str], npt.NDArray[Any]],
        *,
        pinned: bool = False,
    ) -> None:
        self._sampler, self._names, self._read = sampler, names, read
        self._labels, self._pinned = torch.from_numpy(labels), pinned
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> "BatchLoader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            # the thread may be waiting to put a batch that nobody needs anymore
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; an error in the thread is raised here."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._ready.put(self._assemble())
        except BaseException as error:
            self._ready.put(error)

    def _assemble(self) -> Batch:
        draw = self._sampler.draw()
        videos = tuple(self._names[index] for index in draw.videos)
        features: Tensor | None = None
        for row, (video, snippets) in enumerate(zip(videos, draw.snippets, strict=True)):
            picked = self._read(video)[snippets]
            if features is None:
                shape = (len(videos), *picked.shape)
                features = torch.empty(shape, dtype=torch.float32, pin_memory=self._pinned)
            features.numpy()[row] = picked
        assert features is not None
        labels = self._labels[torch.from_numpy(draw.videos)]
        return Batch(features, labels, videos, self._sampler.state())
