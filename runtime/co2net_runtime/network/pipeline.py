"""Many feature files through one Network at constant memory, reading ahead of it."""

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from co2net_runtime.errors import BackendError, Co2netError, InputError
from co2net_runtime.features import FeatureFile, Features
from co2net_runtime.network.batching import PACKED_SNIPPETS
from co2net_runtime.network.chunks import FeatureRows
from co2net_runtime.network.network import Activations, Network

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

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
    network: Network, files: Iterable[FeatureFile], *, size: int | None = None
) -> Generator[Outcome, None, None]:
    """Run the network on each file, in the files' order; failures are outcomes, too.

    At most two windows of videos are held at once (a window is one video where batches are off),
    however many files there are.

    Args:
        network: The opened model.
        files: The feature files, one a video.
        size: The largest batch, as in `Network.run`.
    """
    batch = network.batch_size(size)
    window = WINDOW * batch if batch > 1 else 1
    packed = network.is_packing and size is None
    if packed:
        window = PACKED_WINDOW
    from concurrent.futures import ThreadPoolExecutor  # who runs single videos starts faster

    reading: deque[tuple[FeatureFile, Future[Features | FeatureRows]]] = deque()
    taken: list[tuple[FeatureFile, Future[Features | FeatureRows]]] = []
    waiting = iter(files)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="co2net-read") as reader:
        try:
            while True:
                for file in islice(waiting, 2 * window - len(reading)):
                    reading.append((file, reader.submit(_read, file, network)))
                if not reading:
                    return
                taken = [reading.popleft()]
                while reading and len(taken) < window and not (packed and _fills(taken)):
                    taken.append(reading.popleft())
                yield from _run_window(network, taken, size)
        finally:
            for file, future in (*taken, *reading):
                file.cancel()
                future.cancel()


def _fills(window: list[tuple[FeatureFile, "Future[Features | FeatureRows]"]]) -> bool:
    """Return whether the videos taken so far fill a packed call."""
    lengths = [len(future.result()) for _, future in window if future.exception() is None]
    return sum(lengths) >= PACKED_SNIPPETS


def _read(file: FeatureFile, network: Network) -> Features | FeatureRows:
    """Read the features; of a video that will run in chunks they stay on disk."""
    feature_dim = network.contract.feature_dim
    parts = file.mapped()
    if parts and parts[0].ndim == 2 and len(parts[0]) > network.longest_whole:
        return FeatureRows(*parts, where=str(file.path), feature_dim=feature_dim)
    return file.read(feature_dim)


def _run_window(
    network: Network,
    window: list[tuple[FeatureFile, "Future[Features | FeatureRows]"]],
    size: int | None,
) -> Iterator[Outcome]:
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
    activations = dict(zip(read, _run(network, list(read.values()), size), strict=True))
    for index, (file, _) in enumerate(window):
        if index in outcomes:
            yield outcomes[index]
            continue
        found = activations.pop(index)
        if isinstance(found, BackendError):
            yield Outcome(file, error=BackendError(f"{file.path}: {found}"))
        elif isinstance(found, Co2netError):
            yield Outcome(file, error=found)
        else:
            yield Outcome(file, found)


def _run(
    network: Network, videos: list[Features | FeatureRows], size: int | None
) -> list[Activations | Co2netError]:
    """Run the network; where a batch fails, each of its videos is tried by itself."""
    try:
        return [*network.run(videos, size=size)]
    except Co2netError as error:  # of a long video, features are checked as it runs
        if len(videos) == 1:
            return [error]
        logger.warning("%s; trying one video after another", error)
    results: list[Activations | Co2netError] = []
    for video in videos:
        results += _run(network, [video], 1)
    return results
