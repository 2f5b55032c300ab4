"""Clips that calibrate and that judge: of the user's videos, or made-up ones."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.backbone import BackboneContract, Scaling
from co2net_runtime.errors import InputError
from co2net_runtime.video.decode import Image, VideoReader
from co2net_runtime.video.files import list_videos
from co2net_runtime.video.snippets import Clip as Levels
from co2net_runtime.video.snippets import ClipBuilder, FlowPool, Recipe
from co2net_runtime.video.ticks import ticks

Clip = npt.NDArray[np.float32]
Place = tuple[Path, int]  # a video, and the number of the clip in it
MADE_UP = 3
# one clip in this many judges the calibration by the others
JUDGES = 4


@dataclass(frozen=True)
class Clips:
    """Clips of videos, as extraction makes them; decoded when they are asked for."""

    places: tuple[Place, ...]  # those of one video one after another, ascending
    contract: BackboneContract  # says how they are prepared

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Clip]:
        contract = self.contract
        recipe = Recipe.of(contract, contract.flow)
        with ExitStack() as stack:
            pool = None
            if contract.flow is not None:
                pool = stack.enter_context(closing(FlowPool(contract.flow, contract.crop)))
            for video, places in groupby(self.places, key=lambda place: place[0]):
                numbers = [number for _, number in places]
                for clip in _decoded(video, numbers, recipe, pool):
                    levels: Image = clip.rgb if pool is None else clip.flow()
                    yield scaled(levels.transpose(3, 0, 1, 2), contract.scaling)

    def split(self) -> tuple["Clips", "Clips"]:
        """Return the clips that calibrate and those that judge, every fourth.

        Raises InputError if there is a single clip.
        """
        if len(self) < 2:
            raise InputError(
                f"{self.places[0][0]}: a single clip; at least 2 are needed, to calibrate and to "
                "judge"
            )
        judges = set(range(JUDGES - 1, len(self), JUDGES)) or {len(self) - 1}
        parts: tuple[list[Place], list[Place]] = ([], [])
        for index, place in enumerate(self.places):
            parts[index in judges].append(place)
        rest, judging = (Clips(tuple(part), self.contract) for part in parts)
        return rest, judging


def video_clips(
    videos: Iterable[str | os.PathLike[str]], contract: BackboneContract, *, count: int
) -> Clips:
    """Find clips for a backbone.

    Args:
        videos: Video files, folders of them, or glob patterns.
        contract: Of the backbone; a flow backbone's clips are of its flow.
        count: How many clips to take at most, evenly spread over all.

    Raises:
        InputError: A video cannot be read, or all are shorter than a clip.
        MissingDependencyError: PyAV or OpenCV is not installed.
    """
    found = list_videos(videos)
    places = [(video, number) for video in found for number in range(_length(video, contract))]
    if not places:
        frames, fps = contract.snippet_frames, contract.fps
        raise InputError(
            f"{', '.join(map(str, found[:3]))}: shorter than a clip of {frames} frames at "
            f"{fps:g} fps"
        )
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round())
    return Clips(tuple(places[int(index)] for index in chosen), contract)


def made_up_clips(contract: BackboneContract) -> tuple[Clip, ...]:
    """Return clips of moving blocks with noise on them, the same every time."""
    channels, frames, height, width = contract.clip_shape
    generator = np.random.default_rng(0)
    clips = []
    for number in range(MADE_UP):
        block = 4 << number
        rows, columns = -(-height // block), -(-width // block)
        pattern = generator.integers(0, 256, (channels, rows, columns))
        image = pattern.repeat(block, axis=1).repeat(block, axis=2)[:, :height, :width]
        moved = np.stack([np.roll(image, 2 * step, axis=2) for step in range(frames)], axis=1)
        noise = generator.integers(-32, 33, moved.shape)
        levels = np.clip(moved + noise, 0, 255).astype(np.uint8)
        clips.append(scaled(levels, contract.scaling))
    return tuple(clips)


def scaled(levels: npt.NDArray[np.uint8], scaling: Scaling) -> Clip:
    """Return levels (channels, ...) as the numbers of a clip."""
    shape = (-1, *[1] * (levels.ndim - 1))
    mean, std = (np.array(values).reshape(shape) for values in (scaling.mean, scaling.std))
    result: Clip = ((levels - mean) / std).astype(np.float32)
    return result


def _length(video: Path, contract: BackboneContract) -> int:
    """Return how many clips a video has."""
    with VideoReader(video) as reader:
        return sum(1 for _ in ticks(reader, contract.fps)) // contract.snippet_frames


def _decoded(
    video: Path, numbers: Collection[int], recipe: Recipe, pool: FlowPool | None
) -> Iterator[Levels]:
    """Yield some of a video's clips; only their frames are converted and have flow."""
    frames = recipe.snippet_frames
    builder: ClipBuilder | None = None
    with VideoReader(video) as reader:
        # the last flow leads to the tick after the clip
        needed = islice(ticks(reader, recipe.fps), (max(numbers) + 1) * frames + 1)
        for index, tick in enumerate(needed):
            if index % frames == 0:
                if builder and (clip := builder.push(tick)):
                    yield clip
                builder = ClipBuilder(recipe, pool) if index // frames in numbers else None
            if builder and (clip := builder.push(tick)):
                yield clip
        if builder and (clip := builder.finish()):
            yield clip
