"""Many feature files through one Network at constant memory, reading ahead of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from co2net_runtime.errors import BackendError, Co2netError, DeviceLostError, InputError
from co2net_runtime.features import FeatureFile, Features
from co2net_runtime.network.batching import PACKED_SNIPPETS
from co2net_runtime.network.chunks import FeatureRows
from co2net_runtime.network.network import Activations, Network

if TYPE_CHECKING:
    from concurrent.futures import Future

    Reading: TypeAlias = tuple[FeatureFile, Future[Features | FeatureRows]]

logger = logging.getLogger(__name__)

Watch = Callable[[str, float], None]
Value = TypeVar("Value")

# videos looked at together, in batches: among this many there are some of similar length
WINDOW = 4
# where videos are packed: enough short ones to fill a call, and still few if they are long
PACKED_WINDOW = 8


@dataclass(frozen=True)
class Outcome:
    """One file's activations, or the error that it failed with."""

    file: FeatureFile
    activations: Activations | None = None
    error: Co2netError | None = None


def run_files(
    network: Network,
    files: Iterable[FeatureFile],
    *,
    size: int | None = None,
    watch: Watch | None = None,
) -> Generator[Outcome, None, None]:
    """Run the network on each file, in the files' order; failures are outcomes, too.

    But not that of a GPU which is lost to the process: that is a DeviceLostError.

    However many files there are, at most two windows of videos are held at once, on a GPU three (a
    window is one video where batches are off). A GPU computes the next window while the caller
    works on the outcomes of the last.

    Args:
        network: The opened model.
        files: The feature files, one a video.
        size: The largest batch, as in `Network.run`.
        watch: Takes the stage, "read" or "network", and its seconds; called in several threads.
    """
    watch = watch or (lambda _stage, _seconds: None)
    with contextlib.closing(_windows(network, files, size, watch)) as windows:
        outcomes = (partial(_run_window, network, window, size, watch) for window in windows)
        yield from chain.from_iterable(
            _one_ahead(outcomes) if network.engine.on_gpu else (run() for run in outcomes)
        )


def _one_ahead(calls: Iterator[Callable[[], Value]]) -> Iterator[Value]:
    """Yield what the calls return; while the caller looks at one, a thread makes the next one."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="co2net-network") as thread:
        ahead: deque[Future[Value]] = deque()
        for call in calls:
            ahead.append(thread.submit(call))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _windows(
    network: Network, files: Iterable[FeatureFile], size: int | None, watch: Watch
) -> Generator[list[Reading], None, None]:
    """Yield the videos that are looked at together, and read two windows ahead."""
    batch = network.batch_size(size)
    window = WINDOW * batch if batch > 1 else 1
    packed = network.is_packing and size is None
    if packed:
        window = PACKED_WINDOW
    from concurrent.futures import ThreadPoolExecutor  # who runs single videos starts faster

    reading: deque[Reading] = deque()
    taken: list[Reading] = []
    waiting = iter(files)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="co2net-read") as reader:
        try:
            while True:
                for file in islice(waiting, 2 * window - len(reading)):
                    reading.append((file, reader.submit(_read, file, network, watch)))
                if not reading:
                    taken = []  # a thread may still wait for what was read last
                    return
                taken = [reading.popleft()]
                while reading and len(taken) < window and not (packed and _fills(taken)):
                    taken.append(reading.popleft())
                yield taken
        finally:
            for file, future in (*taken, *reading):
                file.cancel()
                future.cancel()


def _fills(window: list[Reading]) -> bool:
    """Return whether the videos taken so far fill a packed call."""
    lengths = [len(future.result()) for _, future in window if future.exception() is None]
    return sum(lengths) >= PACKED_SNIPPETS


def _read(file: FeatureFile, network: Network, watch: Watch) -> Features | FeatureRows:
    """Read the features; of a video that will run in chunks they stay on disk."""
    begun = time.perf_counter()
    try:
        return _read_now(file, network)
    finally:
        watch("read", time.perf_counter() - begun)


def _read_now(file: FeatureFile, network: Network) -> Features | FeatureRows:
    feature_dim = network.contract.feature_dim
    parts = file.mapped()
    if parts and parts[0].ndim == 2 and len(parts[0]) > network.longest_whole:
        return FeatureRows(*parts, where=str(file.path), feature_dim=feature_dim)
    return file.read(feature_dim)


def _run_window(
    network: Network, window: list[Reading], size: int | None, watch: Watch
) -> list[Outcome]:
    read: dict[int, Features | FeatureRows] = {}
    outcomes: dict[int, Outcome] = {}
    for index, (file, future) in enumerate(window):
        try:
            read[index] = future.result()
        except Co2netError as error:
            outcomes[index] = Outcome(file, error=error)
        except MemoryError:
            large = InputError(f"{file.path}: its features do not fit into this machine's memory")
            outcomes[index] = Outcome(file, error=large)
    begun = time.perf_counter()
    activations = dict(zip(read, _run(network, list(read.values()), size), strict=True))
    if read:
        watch("network", time.perf_counter() - begun)
    for index, found in activations.items():
        file = window[index][0]
        if isinstance(found, BackendError):
            outcomes[index] = Outcome(file, error=BackendError(f"{file.path}: {found}"))
        elif isinstance(found, Co2netError):
            outcomes[index] = Outcome(file, error=found)
        else:
            outcomes[index] = Outcome(file, found)
    return [outcomes[index] for index in range(len(window))]


def _run(
    network: Network, videos: list[Features | FeatureRows], size: int | None
) -> list[Activations | Co2netError]:
    """Run the network; where a batch fails, each of its videos is tried by itself.

    Raises DeviceLostError: nothing could be tried any more, and the videos are not to blame.
    """
    try:
        return [*network.run(videos, size=size)]
    except DeviceLostError:
        raise
    except Co2netError as error:  # of a long video, features are checked as it runs
        if len(videos) == 1:
            return [error]
        logger.warning("%s; trying one video after another", error)
    results: list[Activations | Co2netError] = []
    for video in videos:
        results += _run(network, [video], 1)
    return results
