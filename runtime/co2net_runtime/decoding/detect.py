"""(cas, attention) of one video -> Detections in seconds: the one way from network to segments."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.proposals import decode
from co2net_runtime.detections import Detections
from co2net_runtime.options import DecodeOptions, SnippetTiming


class DetectionContract(Protocol):
    """The part of a contract that `detect` reads; `Contract` and `DetectionRules` have it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names."""

    @property
    def timing(self) -> SnippetTiming:
        """How snippets relate to time."""

    @property
    def decode(self) -> DecodeOptions:
        """Constants of the post-processing."""


@dataclass(frozen=True)
class DetectionRules:
    """A `DetectionContract` where there is no model file."""

    classes: tuple[str, ...]
    timing: SnippetTiming = SnippetTiming()
    decode: DecodeOptions = DecodeOptions()


def detect(cas: npt.ArrayLike, attention: npt.ArrayLike, contract: DetectionContract) -> Detections:
    """Turn the network's outputs for one video into segments in seconds.

    Args:
        cas: (T, C + 1) class logits per snippet, background last; taken as float32.
        attention: (T,) or (T, 1) in [0, 1]; taken as float32.
        contract: Names the classes, their place in time and the post-processing.

    Raises:
        ValueError: The arrays have other shapes, T is 0, or a value is not finite.

    Example:
        >>> rules = DetectionRules(classes=("Jump",))
        >>> found = detect([[9, 0], [9, 0], [0, 9]], [1, 1, 0], rules)
        >>> found.segments[0].tolist()
        [0.0, 1.28]
    """
    found = decode(cas, attention, contract.decode)
    seconds = contract.timing.to_seconds(np.stack([found.start, found.end], axis=1))
    return Detections(seconds, found.score, found.label, contract.classes)
