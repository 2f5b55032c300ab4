"""Video -> feature rows, with decoding, flow and networks at work at the same time."""

import logging
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from co2net_runtime.artefact.backbone import BackboneContract, Flow, FlowAlgorithm
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features
from co2net_runtime.version import VERSION
from co2net_runtime.video.backbone import Backbone
from co2net_runtime.video.decode import Frame, VideoReader, load_av
from co2net_runtime.video.identity import OVERRIDE, Extraction, StreamIdentity
from co2net_runtime.video.resize import find_cv2
from co2net_runtime.video.snippets import Clip, ClipBuilder, FlowPool, Recipe
from co2net_runtime.video.stages import Stages
from co2net_runtime.video.ticks import ticks

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

# clips that are prepared while the networks run
AHEAD = 3
# what backbones of two streams must agree in
_SHARED = ("fps", "snippet_frames", "short_side", "crop")


class Extractor:
    """Extracts features of videos by one or two backbones.

    It may be used by one thread at a time.

    Example:
        with Extractor.open("rgb.onnx", "flow.onnx") as extractor:
            features = extractor("clip.mp4")  # (T, 2048)
    """

    def __init__(self, rgb: Backbone, flow: Backbone | None, how: Flow | None) -> None:
        """Use `Extractor.open`."""
        self.rgb, self.flow = rgb, flow
        self.recipe = Recipe.of(rgb.contract, how)
        self.stages = Stages()  # seconds of decode, resize, flow, rgb network, flow network
        self._pool = FlowPool(how, self.recipe.crop) if how else None

    @staticmethod
    def open(
        rgb: str | os.PathLike[str],
        flow: str | os.PathLike[str] | None = None,
        options: EngineOptions = EngineOptions(),
        *,
        flow_algorithm: FlowAlgorithm | None = None,
        accept_mismatch: bool = False,
    ) -> "Extractor":
        """Open the backbones.

        Args:
            rgb: ONNX file of the RGB backbone.
            flow: That of the flow backbone; None: features of RGB alone.
            options: How to run both.
            flow_algorithm: Computes the flow; None: the one that the flow backbone is made for.
            accept_mismatch: Whether it may be another than that.

        Raises:
            InputError: A file is missing, damaged or of the other stream, or they do not go
                together.
            ContractError: A file is no backbone.
            MissingDependencyError: PyAV, OpenCV or the engine is not installed.
            BackendError: The engine refuses a backbone.
        """
        load_av()
        with ExitStack() as stack:
            colors = stack.enter_context(Backbone.open(rgb, "rgb", options))
            motion, how = None, None
            if flow is not None:
                motion = stack.enter_context(Backbone.open(flow, "flow", options))
                _require_agreement(rgb, colors.contract, flow, motion.contract)
                how = _choose_flow(
                    flow, motion.contract, flow_algorithm, accept_mismatch=accept_mismatch
                )
            extractor = Extractor(colors, motion, how)
            stack.pop_all()
        return extractor

    @property
    def extraction(self) -> Extraction:
        """The identity of the features: backbones, flow, frame rate."""
        flow = self.recipe.flow
        return Extraction(
            rgb=StreamIdentity.of(self.rgb.contract, None),
            flow=StreamIdentity.of(self.flow.contract, flow) if self.flow else None,
            timing=self.rgb.contract.timing,
            short_side=self.recipe.short_side,
            crop=self.recipe.crop,
            versions=self._versions(),
        )

    @property
    def width(self) -> int:
        """Width of a feature row: RGB, then flow."""
        return self.rgb.contract.width + (self.flow.contract.width if self.flow else 0)

    def __call__(self, video: str | os.PathLike[str]) -> Features:
        """Return the features (T, width) float32 of a video file, RGB then flow.

        Raises what `rows` raises.
        """
        return np.concatenate(list(self.rows(video)))

    def rows(self, video: str | os.PathLike[str]) -> Generator[Features, None, None]:
        """Yield a video's features piece by piece, (n, width) float32; memory stays constant.

        Raises:
            InputError: The video cannot be read, or is shorter than one snippet.
            BackendError: The engine fails.
        """
        with VideoReader(video) as reader:
            found = False
            for rows in self.run(_ahead(self.clips(self._timed(reader)), AHEAD)):
                found = True
                yield rows
            if not found:
                raise too_short(reader, self.recipe)

    def builder(self) -> ClipBuilder:
        """Return the builder of clips of one video's or camera's ticks."""
        return ClipBuilder(self.recipe, self._pool, self.stages)

    def run(self, clips: Iterable[Clip]) -> Iterator[Features]:
        """Yield the rows (n, width) float32 of clips as they come, in batches on a GPU.

        Raises BackendError if the engine fails.
        """
        waiting = iter(clips)
        while batch := list(islice(waiting, self.rgb.batch)):
            with self.stages.timed("rgb network"):
                rows = self.rgb.features(np.stack([clip.rgb for clip in batch]))
            if self.flow is not None:
                levels = np.stack([clip.flow() for clip in batch])
                with self.stages.timed("flow network"):
                    rows = np.concatenate([rows, self.flow.features(levels)], axis=1)
            yield rows

    def close(self) -> None:
        """Free engines and threads."""
        if self._pool is not None:
            self._pool.close()
        self.rgb.close()
        if self.flow is not None:
            self.flow.close()

    def clips(self, frames: Iterable[Frame]) -> Iterator[Clip]:
        """Yield the clips of a video's frames."""
        return make_clips(frames, self.builder(), self.recipe.fps)

    def _timed(self, reader: Iterable[Frame]) -> Iterator[Frame]:
        frames = iter(reader)
        while True:
            with self.stages.timed("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _versions(self) -> dict[str, str]:
        cv2 = find_cv2()
        return {
            "co2net": VERSION,
            "av": load_av().__version__,
            "opencv": cv2.__version__ if cv2 else "none: resized by numpy",
            "engine": str(self.rgb.engine),
        }

    def __enter__(self) -> "Extractor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_clips(frames: Iterable[Frame], builder: ClipBuilder, fps: float) -> Iterator[Clip]:
    """Yield the clips that `builder` makes of a video's frames, taken at `fps`."""
    for tick in ticks(frames, fps):
        if clip := builder.push(tick):
            yield clip
    if clip := builder.finish():
        yield clip


def too_short(reader: VideoReader, recipe: Recipe) -> InputError:
    """Return the error of a video that has been read and held no clip."""
    frames, fps = recipe.snippet_frames, recipe.fps
    return InputError(
        f"{reader.source}: {reader.report.frames} frames, shorter than one snippet of "
        f"{frames} frames at {fps:g} fps ({frames / fps:.2f} s)"
    )


def _require_agreement(
    rgb: str | os.PathLike[str],
    colors: BackboneContract,
    flow: str | os.PathLike[str],
    motion: BackboneContract,
) -> None:
    for name in _SHARED:
        mine, other = getattr(colors, name), getattr(motion, name)
        if mine != other:
            raise InputError(
                f"{flow}: made for {name} {other:g}, but {rgb} for {mine:g}: use two backbones "
                "that are prepared alike"
            )


def _choose_flow(
    path: str | os.PathLike[str],
    contract: BackboneContract,
    wanted: FlowAlgorithm | None,
    *,
    accept_mismatch: bool,
) -> Flow:
    flow = contract.flow
    assert flow is not None  # as BackboneContract requires
    if wanted is None or wanted == flow.algorithm:
        return flow
    if not accept_mismatch:
        raise InputError(
            f"{path}: made for {flow.algorithm} flow, asked for was {wanted}: leave out "
            f"--flow-algorithm, or pass {OVERRIDE} to mix them"
        )
    return Flow(algorithm=wanted, bound=flow.bound)


def _ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items of an iterator that a thread of its own runs, at most `depth` ahead."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(message: tuple[str, Any]) -> None:
        while not stopped.is_set():
            try:
                return ready.put(message, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(("item", item))
                if stopped.is_set():
                    return
            put(("end", None))
        except BaseException as error:  # raised again where the items are taken
            put(("error", error))

    thread = threading.Thread(target=work, name="co2net-video", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
            elif kind == "end":
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join()
