"""Clips that calibrate and that judge: the user's, or made-up ones."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.backbone import BackboneContract, Scaling
from co2net_runtime.errors import InputError

Clip = npt.NDArray[np.float32]
Place = tuple[npt.NDArray[Any], int]  # memory-mapped array (N, ...) and an index in it
MADE_UP = 3
# one clip in this many judges the calibration by the others
JUDGES = 4


@dataclass(frozen=True)
class Clips:
    """Clips in files, read when they are asked for."""

    places: tuple[Place, ...]
    scaling: Scaling  # of uint8 levels

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Clip]:
        for array, index in self.places:
            yield scaled(array[index], self.scaling)

    def split(self) -> tuple["Clips", "Clips"]:
        """Return the clips that calibrate and those that judge, every fourth."""
        judges = set(range(JUDGES - 1, len(self), JUDGES)) or {len(self) - 1}
        parts: tuple[list[Place], list[Place]] = ([], [])
        for index, place in enumerate(self.places):
            parts[index in judges].append(place)
        rest, judging = (Clips(tuple(part), self.scaling) for part in parts)
        return rest, judging


def read_clips(path: str | os.PathLike[str], contract: BackboneContract, *, count: int) -> Clips:
    """Find clips for a backbone.

    Args:
        path: A .npy file of clips (N, channels, frames, height, width), uint8 levels or scaled
            float32, or a folder of such files.
        contract: Of the backbone.
        count: How many clips to take at most, evenly spread over all.

    Raises:
        InputError: A file cannot be read or holds other shapes, or there are fewer than two clips.
    """
    source = Path(path)
    files = sorted(source.glob("*.npy")) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{path}: holds no .npy files of clips")
    places = [(array, index) for array in (_open(file, contract) for file in files)
              for index in range(len(array))]  # fmt: skip
    if len(places) < 2:
        raise InputError(
            f"{path}: {len(places)} clips; at least 2 are needed, to calibrate and to judge"
        )
    chosen = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).round())
    return Clips(tuple(places[int(index)] for index in chosen), contract.scaling)


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


def scaled(clip: npt.NDArray[Any], scaling: Scaling) -> Clip:
    """Return uint8 levels (channels, ...) as the numbers of a clip; float32 is taken as it is."""
    if clip.dtype != np.uint8:
        return np.asarray(clip, np.float32)
    shape = (-1, *[1] * (clip.ndim - 1))
    mean, std = (np.array(values).reshape(shape) for values in (scaling.mean, scaling.std))
    result: Clip = ((clip - mean) / std).astype(np.float32)
    return result


def _open(file: Path, contract: BackboneContract) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise InputError(f"{file}: cannot read the file: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{file}: expected a .npy file of clips: {error}") from error
    expected: Sequence[int] = contract.clip_shape
    if array.ndim != 5 or array.shape[1:] != tuple(expected):
        raise InputError(
            f"{file}: expected clips (N, {', '.join(map(str, expected))}), found {array.shape}"
        )
    if array.dtype not in (np.uint8, np.float32):
        raise InputError(f"{file}: expected uint8 levels or scaled float32, found {array.dtype}")
    return array
