"""The contract in a backbone file: how to prepare pixels for it, and what comes out."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from co2net_runtime.artefact.contract import (
    BACKBONE,
    SCHEMA_VERSION,
    contract_mapping,
    contract_text,
)
from co2net_runtime.artefact.onnx_file import read_metadata
from co2net_runtime.errors import ContractError, InputError
from co2net_runtime.files.records import from_mapping, to_mapping
from co2net_runtime.files.text import number_of
from co2net_runtime.options import SnippetTiming

CLIPS_INPUT = "clips"
FEATURES_OUTPUT = "features"
LOGITS_OUTPUT = "logits"
UNKNOWN_WEIGHTS = "unknown"

Stream = Literal["rgb", "flow"]
BackbonePrecision = Literal["fp32", "fp16", "int8-cpu"]
FlowAlgorithm = Literal["tvl1", "tvl1-half", "dis-medium", "dis-fast", "farneback"]
CHANNELS: Mapping[str, int] = {"rgb": 3, "flow": 2}


@dataclass(frozen=True)
class Scaling:
    """How the 256 levels of a pixel become the numbers of a clip: (level - mean) / std.

    Levels are 0 to 255, of color for RGB, of displacement for flow (`Flow`). The default is I3D's,
    from -1 to 1.
    """

    mean: tuple[float, ...] = (127.5,)  # in levels; one for all channels, or one for each
    std: tuple[float, ...] = (127.5,)  # likewise

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not values or not all(map(math.isfinite, values)):
                raise ValueError(f"the scaling's {name} must hold finite numbers, got {values}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"the scaling's std must be positive, got {self.std}")


@dataclass(frozen=True)
class Flow:
    """How two frames become an image of displacements, x and y, in 256 levels.

    A displacement v in pixels, clipped to +-bound, has level round(255 (v + bound) / (2 bound)).
    """

    algorithm: FlowAlgorithm = "tvl1"  # on the resized gray frames i and i + 1, forward
    bound: float = 20.0  # pixels

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"the flow's bound must be positive, got {self.bound}")


@dataclass(frozen=True)
class BackboneContract:
    """The contract of one backbone's ONNX file.

    Input: clips (B, channels, snippet_frames, crop, crop) float32; channels are R, G, B or the
    flow's x, y. Outputs: features (B, width) float32 and, if `classes`, logits (B, classes)
    float32. B is free.

    Frames are taken at `fps`, their shorter side is resized to `short_side` with the aspect kept,
    the center is cropped, and the 256 levels are scaled.
    """

    stream: Stream  # what a frame holds
    name: str  # architecture: "i3d", or what the user calls a backbone of his own
    weights: str  # rgb_imagenet, flow_imagenet, rgb_scratch, flow_scratch or unknown
    weights_sha256: str  # of the tensors, whatever file held them; of a wrapped ONNX file itself
    width: int  # of a feature row
    opset: int  # ONNX opset of the graph
    snippet_frames: int = 16  # of one clip, and from the start of a clip to that of the next
    fps: float = 25.0  # frames a second
    short_side: int = 256  # pixels of the shorter side after resizing
    interpolation: Literal["bilinear"] = "bilinear"  # no antialiasing: OpenCV's INTER_LINEAR
    crop: int = 224  # pixels of the side of the center crop
    scaling: Scaling = field(default_factory=Scaling)  # levels to numbers
    flow: Flow | None = None  # of a flow backbone, None for RGB
    classes: int = 0  # width of the output logits, 0 without it
    precision: BackbonePrecision = "fp32"  # what the graph computes in
    optimize: Literal["none"] = "none"  # the processor that the graph was rewritten for
    parity: Mapping[str, Any] = field(default_factory=dict)  # differences measured at export
    versions: Mapping[str, str] = field(default_factory=dict)  # of the programs that wrote it

    def __post_init__(self) -> None:
        for name in ("width", "snippet_frames", "short_side", "crop"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.classes < 0:
            raise ValueError(f"classes must not be negative, got {self.classes}")
        if self.crop > self.short_side:
            raise ValueError(
                f"the crop of {self.crop} pixels exceeds the short side of {self.short_side}"
            )
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be a positive number, got {self.fps}")
        for name in ("mean", "std"):
            count = len(getattr(self.scaling, name))
            if count not in (1, self.channels):
                raise ValueError(
                    f"the scaling's {name} has {number_of(count, 'value')}, the {self.stream} "
                    f"stream {self.channels} channels"
                )
        if (self.flow is None) != (self.stream == "rgb"):
            raise ValueError("a flow backbone must say what its flow is, an RGB backbone has none")

    @property
    def channels(self) -> int:
        """Channels of a frame: 3 for RGB, 2 for flow."""
        return CHANNELS[self.stream]

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip: (channels, snippet_frames, crop, crop)."""
        return self.channels, self.snippet_frames, self.crop, self.crop

    @property
    def timing(self) -> SnippetTiming:
        """How the feature rows relate to time."""
        return SnippetTiming(snippet_frames=self.snippet_frames, fps=self.fps)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return (FEATURES_OUTPUT, LOGITS_OUTPUT) if self.classes else (FEATURES_OUTPUT,)

    def to_json(self) -> str:
        """Return the contract as the JSON text that the file's metadata holds."""
        head = {"schema_version": SCHEMA_VERSION, "kind": BACKBONE}
        return json.dumps({**head, **to_mapping(self)}, sort_keys=True)

    @staticmethod
    def from_json(text: str, where: str) -> "BackboneContract":
        """Read the JSON text of the metadata.

        Args:
            text: The metadata's value.
            where: Name of the file, for error texts.

        Raises:
            ContractError: It is damaged, of another schema version, or a model's.
        """
        mapping = contract_mapping(text, where, kind=BACKBONE)
        try:
            return from_mapping(BackboneContract, mapping, f"{where}: contract")
        except InputError as error:
            raise ContractError(str(error)) from error

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> "BackboneContract":
        """Read the contract from an ONNX file's metadata map.

        Raises:
            ContractError: There is none, or it is a model's.
        """
        text = contract_text(metadata, where, "co2net-backbone")
        return BackboneContract.from_json(text, where)


def read_backbone_contract(path: str | os.PathLike[str]) -> BackboneContract:
    """Read the contract of a backbone's ONNX file.

    Args:
        path: The ONNX file.

    Raises:
        InputError: The file is missing, empty, truncated or no ONNX file.
        ContractError: It has no contract, or a model's.

    Example:
        >>> read_backbone_contract("rgb.onnx").clip_shape  # doctest: +SKIP
        (3, 16, 224, 224)
    """
    return BackboneContract.from_metadata(read_metadata(path), str(path))
