"""How snippets relate to time, and how (cas, attention) become segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # command lines show the options without it
    import numpy as np
    import numpy.typing as npt


# published: 10; more than this is a damaged number
MOST_THRESHOLDS = 1000
# snippets; a longer one is a slip of the finger
LONGEST_VIDEO = 1_000_000
# far beyond any video's: what a damaged file states must not overflow later
_MAX_FRAMES = 1 << 31


@dataclass(frozen=True)
class SnippetTiming:
    """When snippet i begins: at (i * snippet_frames + offset_frames) / fps seconds.

    The defaults are CO2-Net's: 16 frames at 25 fps, 0.64 s.
    """

    snippet_frames: int = 16  # between the starts of neighboring snippets: the extraction's stride
    fps: float = 25.0  # frame rate of the video that the extraction ran on
    # position of the first snippet: for overlapping windows, half of what a window is longer than
    # the stride
    offset_frames: int = 0

    def __post_init__(self) -> None:
        if self.snippet_frames < 1:
            raise ValueError(f"snippet_frames must be at least 1, got {self.snippet_frames}")
        if self.offset_frames < 0:
            raise ValueError(f"offset_frames must not be negative, got {self.offset_frames}")
        if max(self.snippet_frames, self.offset_frames) > _MAX_FRAMES:
            raise ValueError(f"snippet_frames and offset_frames go up to {_MAX_FRAMES}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be a positive number, got {self.fps}")

    def to_seconds(self, snippets: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return snippet positions (any shape) in seconds, float64."""
        import numpy as np

        frames = np.asarray(snippets, dtype=np.float64) * self.snippet_frames
        return (frames + self.offset_frames) / self.fps

    def to_snippets(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return seconds (any shape) as fractional snippet positions, float64."""
        import numpy as np

        frames = np.asarray(seconds, dtype=np.float64) * self.fps
        return (frames - self.offset_frames) / self.snippet_frames

    @property
    def snippet_s(self) -> float:
        """Seconds from one snippet to the next."""
        return self.snippet_frames / self.fps


@dataclass(frozen=True)
class DecodeOptions:
    """Constants of the post-processing; the defaults are the published ones (method, section 4)."""

    class_threshold: float = 0.2  # video-level softmax probability that localizes a class
    video_topk_divisor: int = 10  # a class's score: mean of its top max(1, T // divisor) snippets
    threshold_min: float = 0.1  # the lowest threshold of the attention
    threshold_max: float = 0.9  # the highest
    threshold_count: int = 10  # how many, linearly spaced
    outer_margin: float = 0.25  # width of the outer region on either side, in segment lengths
    class_score_weight: float = 0.2  # of the video-level probability in a segment's score
    nms_sigma: float = 0.3  # of the Gaussian soft-NMS, exp(-tIoU^2 / sigma)

    def __post_init__(self) -> None:
        if self.video_topk_divisor < 1:
            raise ValueError(
                f"video_topk_divisor must be at least 1, got {self.video_topk_divisor}"
            )
        if not 1 <= self.threshold_count <= MOST_THRESHOLDS:
            raise ValueError(
                f"threshold_count must be 1 to {MOST_THRESHOLDS}, got {self.threshold_count}"
            )
        if not 0 <= self.threshold_min <= self.threshold_max <= 1:
            raise ValueError(
                "thresholds must satisfy 0 <= threshold_min <= threshold_max <= 1, got "
                f"{self.threshold_min} and {self.threshold_max}"
            )
        if not (math.isfinite(self.outer_margin) and self.outer_margin >= 0):
            raise ValueError(f"outer_margin must not be negative, got {self.outer_margin}")
        if not (math.isfinite(self.nms_sigma) and self.nms_sigma > 0):
            raise ValueError(f"nms_sigma must be positive, got {self.nms_sigma}")
        for name in ("class_threshold", "class_score_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")

    @property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """Return the attention thresholds, (threshold_count,) float64, ascending."""
        import numpy as np

        return np.linspace(self.threshold_min, self.threshold_max, self.threshold_count)
