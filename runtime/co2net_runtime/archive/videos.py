"""Videos of an archive: tasks on CPUs anywhere decode and compute flow, the actor runs backbones.

What goes between them is clips, a few at a time: a task waits until those it made are taken.
"""

import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.archive.inputs import fetch
from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError, Co2netError, InputError
from co2net_runtime.features import FeatureFile, Features, check_features
from co2net_runtime.video.decode import Image, VideoReader
from co2net_runtime.video.extract import Extractor, make_clips, too_short
from co2net_runtime.video.snippets import Clip, ClipBuilder, FlowPool, Recipe
from co2net_runtime.video.stages import Stages

# pieces of clips that a task makes ahead, and how often it is tried again where its process dies
_AHEAD, _RETRIES = 2, 2


@dataclass(frozen=True)
class Backbones:
    """How features are made of videos."""

    rgb: str  # the RGB backbone
    flow: str | None  # the flow backbone
    flow_algorithm: FlowAlgorithm | None  # None: the flow backbone's
    accept_mismatch: bool
    tasks: int = 1  # that decode for one actor at once

    def open(self, engine: EngineOptions) -> Extractor:
        """Open the backbones; raises what `Extractor.open` raises."""
        return Extractor.open(
            self.rgb,
            self.flow,
            engine,
            flow_algorithm=self.flow_algorithm,
            accept_mismatch=self.accept_mismatch,
        )


class MadeClip(Clip):
    """A clip whose flow is there."""

    def __init__(self, rgb: Image, levels: Image | None) -> None:
        super().__init__(rgb, [])
        self.levels = levels  # (snippet_frames, crop, crop, 2) uint8; None: RGB alone

    def flow(self) -> Image:
        """Return the flow's levels."""
        assert self.levels is not None
        return self.levels


@dataclass(frozen=True)
class Extracted(FeatureFile):
    """A video that stands for its features, which are in the making."""

    coming: "Future[Features] | None" = None

    def read(self, feature_dim: int | None = None) -> Features:
        """Return the features (T, D) float32, T >= 1. Raises what extracting does."""
        return check_features(self.mapped()[0], str(self.path), feature_dim)

    def mapped(self) -> tuple[npt.NDArray[Any], ...]:
        """Return the array of the features; waits."""
        assert self.coming is not None
        return (self.coming.result(),)


class ClusterExtractor:
    """Extracts the features of videos, several at once."""

    def __init__(self, backbones: Backbones, engine: EngineOptions) -> None:
        """Open the backbones. Raises what `Extractor.open` raises."""
        import ray

        self._ray, self._count = ray, backbones.tasks
        self._extractor = backbones.open(engine)
        self._one_at_a_time = threading.Lock()
        self._pieces = ray.remote(_pieces).options(
            num_cpus=1,
            max_retries=_RETRIES,
            num_returns="streaming",
            _generator_backpressure_num_objects=_AHEAD,
        )

    def files(self, videos: Mapping[str, str]) -> Generator[FeatureFile, None, None]:
        """Yield each video (name -> place) as a file; its features are under way."""
        names = iter(videos)
        coming: deque[Extracted] = deque()
        with ThreadPoolExecutor(self._count, "co2net-videos") as threads:
            try:
                while True:
                    for name in islice(names, self._count - len(coming)):
                        future = threads.submit(self._features, name, videos[name])
                        coming.append(Extracted(name, Path(videos[name]), coming=future))
                    if not coming:
                        return
                    yield coming.popleft()
            finally:
                for file in coming:
                    assert file.coming is not None
                    file.coming.cancel()

    def _features(self, name: str, place: str) -> Features:
        batch = self._extractor.rgb.batch
        rows: list[Features] = []
        try:
            for reference in self._pieces.remote(self._extractor.recipe, name, place, batch):
                found = self._ray.get(reference)
                if isinstance(found, str):
                    raise InputError(found)
                with self._one_at_a_time:
                    rows += self._extractor.run(MadeClip(*clip) for clip in found)
        except self._ray.exceptions.RayTaskError as error:
            raise BackendError(f"{place}: {error.cause!r}") from error
        except self._ray.exceptions.RayError as error:
            raise InputError(
                f"{place}: the process that decodes it died {_RETRIES + 1} times: look at its "
                f"memory ({type(error).__name__})"
            ) from error
        return np.concatenate(rows)


def _pieces(
    recipe: Recipe, name: str, place: str, size: int
) -> Iterator[list[tuple[Image, Image | None]] | str]:
    """Yield a video's clips, `size` at a time; an error's text ends them."""
    pool = FlowPool(recipe.flow, recipe.crop, workers=1) if recipe.flow else None
    builder = ClipBuilder(recipe, pool, Stages())
    path = Path(place)
    try:
        with tempfile.TemporaryDirectory(prefix="co2net-archive-") as folder:
            path = fetch(name, place, Path(folder)).path
            with VideoReader(path) as reader:
                clips = make_clips(reader, builder, recipe.fps)
                found = False
                while piece := list(islice(clips, size)):
                    found = True
                    yield [(clip.rgb, clip.flow() if pool else None) for clip in piece]
                if not found:
                    raise too_short(reader, recipe)
    except Co2netError as error:
        yield str(error).replace(str(path), place)
    finally:
        if pool is not None:
            pool.close()
