"""Rendered videos for demonstrations: an action is where appearance and motion agree.

Every class has a textured shape and a way to move. In an action its shape moves its way. Outside,
a shape may stand still (appearance alone), a gray shape may move in the way of a class (motion
alone), or nothing is there. The background drifts all the time, as before a moving camera.
"""

import functools
import importlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from co2net.data.synthetic_annotations import TEST_EVERY, TEST_SUBSET, TRAIN_SUBSET
from co2net.data.video import Annotations, Video
from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.files.atomic import atomic_path

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FPS = 25
HEIGHT, WIDTH = 192, 256
# seconds; where there is no other, an action or a distraction lasts this long
_SHORTEST_S, _LONGEST_S = 2.6, 5.2
_RADIUS = 56.0  # pixels of a shape
_AMPLITUDE = 18.0  # pixels of its motion
_PERIOD_S = 0.8  # of its motion
_DRIFT = 20.0  # pixels that the background moves at most, to either side


@dataclass(frozen=True)
class _Class:
    name: str
    colors: tuple[tuple[int, int, int], tuple[int, int, int]]  # of the texture, R, G, B
    texture: str
    motion: str


_CLASSES = (
    _Class("Shake", ((230, 60, 50), (250, 220, 90)), "bars", "across"),
    _Class("Bounce", ((40, 90, 220), (170, 230, 250)), "checks", "down"),
    _Class("Pulse", ((40, 150, 60), (220, 250, 120)), "rings", "size"),
    _Class("Circle", ((150, 50, 190), (255, 170, 220)), "rays", "round"),
)
MOST_CLASSES = len(_CLASSES)
_GRAY = ((90, 90, 90), (170, 170, 170))


@dataclass(frozen=True)
class Scene:
    """A stretch of a video in which one thing goes on."""

    start_s: float
    end_s: float
    shape: int | None  # class whose shape shows, None: a gray one, if anything moves
    motion: int | None  # class whose motion shows, None: what shows stands still

    @property
    def action(self) -> int | None:
        """The class of the action, None where appearance and motion do not agree."""
        return self.shape if self.shape == self.motion else None


@dataclass(frozen=True)
class Script:
    """The events of one video."""

    name: str
    subset: str
    seed: int  # of background and places
    scenes: tuple[Scene, ...]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.scenes[-1].end_s

    @property
    def video(self) -> Video:
        """Its annotation: the actions."""
        actions = [scene for scene in self.scenes if scene.action is not None]
        labels = [scene.action for scene in actions]
        return Video(
            name=self.name,
            subset=self.subset,
            duration_s=self.duration_s,
            labels=tuple(sorted({label for label in labels if label is not None})),
            segments=np.array([(s.start_s, s.end_s) for s in actions], np.float64).reshape(-1, 2),
            segment_labels=np.array(labels, np.int64),
            ambiguous=np.empty((0, 2)),
        )


def write_scripts(classes: int, videos: int, seed: int) -> tuple[Script, ...]:
    """Return the script of each of the videos, every third to test on.

    A video has two or three actions of one class, each between distractions of any class.

    Raises ValueError if there are fewer than 2 or more than `MOST_CLASSES` classes.
    """
    if not 2 <= classes <= MOST_CLASSES:
        raise ValueError(f"expected 2 to {MOST_CLASSES} classes, got {classes}")
    counts = {TRAIN_SUBSET: 0, TEST_SUBSET: 0}
    scripts = []
    for number in range(videos):
        subset = TEST_SUBSET if number % TEST_EVERY == TEST_EVERY - 1 else TRAIN_SUBSET
        label = counts[subset] % classes
        counts[subset] += 1
        name = f"{subset}_{number:03d}"
        scripts.append(_script(name, subset, label, classes, seed))
    return tuple(scripts)


def annotations(scripts: tuple[Script, ...], classes: int) -> Annotations:
    """Return the annotations of the videos."""
    names = tuple(each.name for each in _CLASSES[:classes])
    return Annotations(names, tuple(script.video for script in scripts))


def render(script: Script) -> Iterator[Image]:
    """Yield the frames (HEIGHT, WIDTH, 3) uint8 of a video, R, G, B, at `FPS`."""
    random = np.random.default_rng([script.seed, 1, zlib.crc32(script.name.encode())])
    background, phase = _background(random), random.uniform(0, 2 * np.pi, 2)
    speed = random.uniform(0.1, 0.25, 2)  # turns of the drift a second
    margin = int(_DRIFT)
    places = {
        scene: (random.uniform(100, WIDTH - 100), random.uniform(78, HEIGHT - 78))
        for scene in script.scenes
    }
    for number in range(round(script.duration_s * FPS)):
        time_s = number / FPS
        left, top = (int(x) for x in margin + _DRIFT * np.sin(2 * np.pi * speed * time_s + phase))
        frame = background[top : top + HEIGHT, left : left + WIDTH].copy()
        scene = next(scene for scene in script.scenes if time_s < scene.end_s)
        if scene.shape is not None or scene.motion is not None:
            _draw(frame, scene, places[scene], time_s)
        yield frame


def write_video(script: Script, path: Path) -> None:
    """Render a video into an H.264 file; it appears when it is whole.

    Raises:
        MissingDependencyError: PyAV is not installed.
        InputError: The file cannot be written.
    """
    av = load_av()
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.options = {"preset": "ultrafast", "crf": "20", "threads": "1", "g": str(FPS)}
        for image in render(script):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def load_av() -> ModuleType:
    """Import PyAV. Raises MissingDependencyError where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError("PyAV", "video", "rendering videos") from error


def _script(name: str, subset: str, label: int, classes: int, seed: int) -> Script:
    random = np.random.default_rng([seed, 0, zlib.crc32(name.encode())])
    scenes: list[Scene] = []

    def add(shape: int | None, motion: int | None) -> None:
        start_s = scenes[-1].end_s if scenes else 0.0
        end_s = round(start_s + random.uniform(_SHORTEST_S, _LONGEST_S), 2)
        scenes.append(Scene(start_s, end_s, shape, motion))

    def distract() -> None:
        other = int(random.integers(classes))
        # the same share of each: the shape alone, the motion alone, nothing
        add(*((other, None), (None, other), (None, None))[int(random.integers(3))])

    distract()
    for _ in range(int(random.integers(2, 4))):
        add(label, label)
        distract()
    return Script(name, subset, seed, tuple(scenes))


def _background(random: np.random.Generator) -> Image:
    """Return a gray-brown pattern, larger than a frame by the drift."""
    size = HEIGHT + 2 * int(_DRIFT) + 2, WIDTH + 2 * int(_DRIFT) + 2
    coarse = sum(
        (_smooth(random, size, cells) / weight for cells, weight in ((24, 1.0), (60, 1.5))),
        np.zeros(size, np.float32),
    )
    tint = random.uniform(0.75, 1.0, 3)
    levels = (110 + 30 * coarse)[..., None] * tint
    return levels.clip(0, 255).astype(np.uint8)


def _smooth(random: np.random.Generator, size: tuple[int, int], cells: int) -> Floats:
    """Return noise between -1 and 1 of about that many cells to the longer side."""
    knots = random.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    rows, columns = (np.linspace(0, cells * n / max(size), n) for n in size)
    across = np.stack([np.interp(columns, np.arange(cells + 1), row) for row in knots])
    both = np.stack([np.interp(rows, np.arange(cells + 1), column) for column in across.T], axis=1)
    return both.astype(np.float32)


def _draw(frame: Image, scene: Scene, place: tuple[float, float], time_s: float) -> None:
    """Draw the shape of a scene as it is at a time into a frame."""
    x, y = place
    radius = _RADIUS
    angle = 2 * np.pi * (time_s - scene.start_s) / _PERIOD_S
    motion = _CLASSES[scene.motion].motion if scene.motion is not None else "none"
    if motion in ("across", "round"):
        x += _AMPLITUDE * np.sin(angle)
    if motion in ("down", "round"):
        y += _AMPLITUDE * np.cos(angle)
    if motion == "size":
        radius *= 1 + 0.35 * np.sin(angle)
    u, v = _grid()
    u, v = (u - x) / radius, (v - y) / radius
    inside = u * u + v * v < 1
    style = _CLASSES[scene.shape] if scene.shape is not None else None
    pattern = _texture(style.texture if style else "bars", u, v)
    colors = np.array(style.colors if style else _GRAY, np.uint8)
    frame[inside] = colors[pattern[inside].astype(np.intp)]


@functools.cache
def _grid() -> tuple[Floats, Floats]:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return x, y


def _texture(name: str, u: Floats, v: Floats) -> npt.NDArray[np.bool_]:
    """Return which of two colors a shape has at points of it, from -1 to 1."""
    if name == "bars":
        value = np.sin(9 * u)
    elif name == "checks":
        value = np.sin(9 * u) * np.sin(9 * v)
    elif name == "rings":
        value = np.sin(14 * np.hypot(u, v))
    else:
        value = np.sin(8 * np.arctan2(v, u))
    return np.asarray(value > 0)
