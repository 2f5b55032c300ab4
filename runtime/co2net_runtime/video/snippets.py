"""Ticks -> clips of levels for both streams, incrementally, with breaks."""

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from co2net_runtime.artefact.backbone import BackboneContract, Flow
from co2net_runtime.video.decode import Frame, Image
from co2net_runtime.video.flow import FlowEstimator, flow_levels, gray
from co2net_runtime.video.resize import center_crop, resize, resized_size
from co2net_runtime.video.stages import Stages


@dataclass(frozen=True)
class Recipe:
    """How ticks are prepared: what the backbones of both streams have in common."""

    fps: float  # ticks a second
    snippet_frames: int  # ticks of a clip, and from one clip to the next
    short_side: int  # pixels after resizing
    crop: int  # pixels of the side of the center crop
    flow: Flow | None  # None: RGB alone

    @staticmethod
    def of(contract: BackboneContract, flow: Flow | None) -> "Recipe":
        """Return how the clips of a backbone are prepared, with that flow beside them."""
        return Recipe(
            contract.fps, contract.snippet_frames, contract.short_side, contract.crop, flow
        )


class Clip:
    """The levels of one snippet; its flow may not be finished yet."""

    def __init__(self, rgb: Image, flows: list["Future[Image]"]) -> None:
        self.rgb = rgb  # (snippet_frames, crop, crop, 3) uint8
        self._flows = flows

    def flow(self) -> Image:
        """Return the flow's levels (snippet_frames, crop, crop, 2) uint8, x then y; waits."""
        return np.stack([flow.result() for flow in self._flows])


class FlowPool:
    """Computes flows in threads, one estimator in each."""

    def __init__(self, flow: Flow, crop: int, workers: int | None = None) -> None:
        """Start.

        Args:
            flow: The algorithm and its bound.
            crop: Pixels of the center crop, taken after the flow.
            workers: Threads; None: as many as there are cores.
        """
        FlowEstimator(flow.algorithm)  # what is missing is said here, and not in a thread
        self._flow, self._crop = flow, crop
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(workers or os.cpu_count() or 1, "co2net-flow")

    def submit(self, first: Image, second: Image, stages: Stages) -> "Future[Image]":
        """Return a future of the levels (crop, crop, 2) of the flow between two gray frames."""
        return self._threads.submit(self._compute, first, second, stages)

    def close(self) -> None:
        """Stop; flows that no thread has begun are canceled."""
        self._threads.shutdown(cancel_futures=True)

    def _compute(self, first: Image, second: Image, stages: Stages) -> Image:
        with stages.timed("flow"):
            if not hasattr(self._own, "estimator"):
                self._own.estimator = FlowEstimator(self._flow.algorithm)
            displacements = self._own.estimator(first, second)
            return flow_levels(center_crop(displacements, self._crop), self._flow.bound)


class ClipBuilder:
    """Makes clips of ticks, one tick after another; a source may be endless.

    A clip of n ticks needs n flows, the last one to the tick that follows it. At the end, where no
    tick follows, that flow is the one before it once more: both streams have ticks // n clips.
    Ticks of an unfinished clip are dropped.

    Example:
        builder = ClipBuilder(recipe, pool)
        clips = [clip for tick in ticks(video, 25.0) if (clip := builder.push(tick))]
        last = builder.finish()
    """

    def __init__(self, recipe: Recipe, pool: FlowPool | None, stages: Stages | None = None) -> None:
        """Start before the first tick.

        Args:
            recipe: How ticks are prepared.
            pool: Computes the flow; None where the recipe has none.
            stages: Takes the times; None: nobody asks for them.
        """
        self._recipe, self._pool = recipe, pool
        self._stages = stages or Stages()
        self._source: Frame | None = None
        self._size: tuple[int, int] | None = None
        self._small = self._gray = np.zeros((0, 0), np.uint8)
        self._crops: list[Image] = []
        self._flows: list[Future[Image]] = []
        self.ticks = 0  # since the start or the last break

    def push(self, tick: Frame) -> Clip | None:
        """Take the next tick; return the clip that it completes, if any."""
        earlier = self._gray
        if tick is not self._source:
            self._prepare(tick)
        self.ticks += 1
        done = None
        frames = self._recipe.snippet_frames
        if self._pool is None:
            self._crops.append(center_crop(self._small, self._recipe.crop))
            return self._take() if len(self._crops) == frames else None
        if self.ticks > 1:
            self._flows.append(self._pool.submit(earlier, self._gray, self._stages))
        if len(self._crops) == frames:
            done = self._take()
        self._crops.append(center_crop(self._small, self._recipe.crop))
        return done

    def finish(self) -> Clip | None:
        """End the source; return the last clip if it lacks nothing but its last flow."""
        frames = self._recipe.snippet_frames
        whole = len(self._crops) == frames and bool(self._flows or frames == 1)
        last = None
        if whole:
            # a clip of a single tick has no flow to repeat: it is still
            still = self._flows[-1:] or [self._pool_still()]
            self._flows += still
            last = self._take()
        self.restart()
        return last

    def restart(self) -> None:
        """Start over after a break in the source: no flow crosses it."""
        self._source = self._size = None
        self._crops.clear()
        self._flows.clear()
        self.ticks = 0

    def _pool_still(self) -> "Future[Image]":
        assert self._pool is not None
        return self._pool.submit(self._gray, self._gray, self._stages)

    def _prepare(self, tick: Frame) -> None:
        with self._stages.timed("resize"):
            image = tick.read()
            if self._size is None:
                # a source that changes its size later is brought to that of its first frame
                self._size = resized_size(image.shape[0], image.shape[1], self._recipe.short_side)
            self._small = resize(image, self._size)
            if self._pool is not None:
                self._gray = gray(self._small)
        self._source = tick

    def _take(self) -> Clip:
        clip = Clip(np.stack(self._crops), self._flows[:])
        self._crops.clear()
        self._flows.clear()
        return clip
