"""Planted two-stream features that pose CO2-Net's problem without any video.

Every class has an appearance (RGB) and a motion (flow). In an action both show. Outside, the
time is divided into stretches in which at most one of them does: the scene of an action without
its motion in RGB, motion without the scene in flow. So a stream alone finds actions where there
are none, and both together do not. Style, camera motion and noise of each video lie over it.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net.data.video import Video
from co2net_runtime.errors import InputError
from co2net_runtime.options import LONGEST_VIDEO, SnippetTiming

Floats = npt.NDArray[np.float32]

# channels in which a prototype is active; I3D's pooled features are about as sparse
_ACTIVE_SHARE = 0.25

_APPEARANCE, _MOTION = range(2)

# what a generator is for is part of its seed
_CLASS, _GROUP, _VIDEO, _CAMERA = range(4)


@dataclass(frozen=True)
class SyntheticOptions:
    """How the features are planted and how hard they are; the defaults resemble real ones.

    Under the THUMOS14 annotations, the full-size model scores about 46 average mAP (.1-.7) after
    300 iterations (T 100, batch 10); the published one scores 44.6 on real features.
    """

    seed: int = 0  # of everything
    rgb_dim: int = 1024  # channels of the streams
    flow_dim: int = 1024
    timing: SnippetTiming = SnippetTiming()
    evidence: float = 1.0  # strength of appearance and motion relative to the noise
    similarity: float = 0.5  # share of a prototype that is common to the classes of its group
    visibility: float = 0.1  # least strength with which an action shows in a stream, of 1
    boundary_error_s: float = 0.4  # standard deviation of annotated boundaries from the true ones
    scene: float = 0.4  # share of the time outside actions that shows only an action's appearance
    motion: float = 0.25  # the same for only its motion
    noise: float = 0.3  # standard deviation of the noise per channel

    def __post_init__(self) -> None:
        if self.rgb_dim < 1 or self.flow_dim < 1:
            raise ValueError(
                f"stream widths must be at least 1, got {self.rgb_dim} and {self.flow_dim}"
            )
        if not (self.scene >= 0 and self.motion >= 0 and self.scene + self.motion <= 1):
            raise ValueError("scene and motion are shares of the time and together at most 1")
        for name in ("similarity", "visibility"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class Evidence:
    """How strongly each class shows in each stream of one video: (T, C) float32, about 0 to 1."""

    appearance: Floats
    motion: Floats


def snippet_count(video: Video, timing: SnippetTiming) -> int:
    """Return how many snippets fit in the video: its duration, or its last segment's end.

    Raises InputError if that is more than any video has.
    """
    last_s = float(video.segments.max(initial=0.0))
    duration_s = last_s if video.duration_s is None else video.duration_s
    count = float(timing.to_snippets(duration_s))
    if count > LONGEST_VIDEO:
        raise InputError(f"{video.name}: its duration, {duration_s:g} s, is longer than any video")
    return max(1, int(count))


def plant_evidence(video: Video, class_count: int, options: SyntheticOptions) -> Evidence:
    """Return where the classes show in a video, the same for the same seed and video."""
    random = _generator(options.seed, _VIDEO, zlib.crc32(video.name.encode()))
    length = snippet_count(video, options.timing)
    streams = (np.zeros((length, class_count)), np.zeros((length, class_count)))
    covered = np.zeros(length)

    def show(stream: int, label: int, shape: npt.NDArray[np.float64]) -> None:
        shown = streams[stream][:, label]
        np.maximum(shown, shape * _visibility(length, random, options), out=shown)

    for segment, label in zip(video.segments, video.segment_labels, strict=True):
        start_s, end_s = np.sort(segment + options.boundary_error_s * random.standard_normal(2))
        shape = _envelope(length, start_s, end_s, random, options.timing)
        covered = np.maximum(covered, shape)
        show(_APPEARANCE, label, shape)
        show(_MOTION, label, shape)
    labels = video.labels or tuple(range(class_count))
    for start_s, end_s in _stretches(length, random, options.timing):
        # stretches leave actions alone, also where these show only faintly
        shape = _envelope(length, start_s, end_s, random, options.timing) * (1 - covered)
        label, kind = random.choice(labels), random.random()
        if kind < options.scene:
            show(_APPEARANCE, label, shape)
        elif kind < options.scene + options.motion:
            show(_MOTION, label, shape)
    appearance, motion = (shown.astype(np.float32) for shown in streams)
    return Evidence(appearance, motion)


def plant_features(video: Video, class_count: int, options: SyntheticOptions) -> Floats:
    """Return a video's features (T, rgb_dim + flow_dim) float32, non-negative as I3D's are.

    They depend on the seed, the video and its labels, and on no other video.
    """
    evidence = plant_evidence(video, class_count, options)
    random = _generator(options.seed, _CAMERA, zlib.crc32(video.name.encode()))
    streams = []
    for stream, (width, shown) in enumerate(
        ((options.rgb_dim, evidence.appearance), (options.flow_dim, evidence.motion))
    ):
        labels = np.flatnonzero(shown.any(axis=0))
        prototypes = (
            np.stack([prototype(int(label), stream, width, options) for label in labels])
            if len(labels)
            else np.zeros((0, width), dtype=np.float32)
        )
        signal = options.evidence * (shown[:, labels] @ prototypes)
        signal += _background(len(shown), width, random)
        signal += options.noise * random.standard_normal(signal.shape, dtype=np.float32)
        streams.append(np.maximum(signal, 0))
    return np.concatenate(streams, axis=1)


def prototype(label: int, stream: int, width: int, options: SyntheticOptions) -> Floats:
    """Return the appearance (stream 0) or motion (stream 1) of a class, (width,) float32."""
    own = _sparse(_generator(options.seed, _CLASS, stream, label), width)
    group = _sparse(_generator(options.seed, _GROUP, stream, label // 4), width)
    mixed: Floats = (1 - options.similarity) * own + options.similarity * group
    return mixed


def _sparse(random: np.random.Generator, width: int) -> Floats:
    active = random.random(width) < _ACTIVE_SHARE
    values: Floats = (active * random.exponential(1.0, width)).astype(np.float32)
    return values


def _background(length: int, width: int, random: np.random.Generator) -> Floats:
    """Return a video's own look: a constant style and slow changes of a few patterns."""
    style = 0.5 * _sparse(random, width) + 0.1
    patterns = np.stack([_sparse(random, width) for _ in range(4)])
    steps = random.standard_normal((length + 20, 4))
    kernel = np.hanning(11)
    walks = np.stack([np.convolve(s, kernel / np.sqrt((kernel**2).sum()), "same") for s in steps.T])
    levels = 0.3 * np.maximum(walks[:, 10 : 10 + length].T, 0)
    background: Floats = (style + levels @ patterns).astype(np.float32)
    return background


def _envelope(
    length: int, start_s: float, end_s: float, random: np.random.Generator, timing: SnippetTiming
) -> npt.NDArray[np.float64]:
    """Return how much of an interval shows at each snippet, (length,), with soft boundaries."""
    centres_s = timing.to_seconds(np.arange(length) + 0.5)
    softness_s = random.uniform(0.1, 0.4)
    rise = np.tanh((centres_s - start_s) / softness_s)
    fall = np.tanh((end_s - centres_s) / softness_s)
    shape: npt.NDArray[np.float64] = (1 + rise) * (1 + fall) / 4
    return shape


def _visibility(
    length: int, random: np.random.Generator, options: SyntheticOptions
) -> npt.NDArray[np.float64]:
    """Return how well a class can be seen, (length,): it changes every 2 s or so."""
    knots_s = np.arange(0, float(options.timing.to_seconds(length)) + 4, 2.0)
    levels = random.uniform(options.visibility, 1, size=len(knots_s))
    return np.interp(options.timing.to_seconds(np.arange(length) + 0.5), knots_s, levels)


def _stretches(
    length: int, random: np.random.Generator, timing: SnippetTiming
) -> list[tuple[float, float]]:
    """Divide a video's time into stretches of 4 s on average, the shortest 1 s."""
    duration_s = float(timing.to_seconds(length))
    stretches = []
    start_s = 0.0
    while start_s < duration_s:
        end_s = start_s + 1.0 + random.exponential(4.0)
        stretches.append((start_s, end_s))
        start_s = end_s
    return stretches


def _generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
