"""How features were made: the file extraction.json, and when two of them agree."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from co2net_runtime.artefact.backbone import BackboneContract, Flow, Scaling
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.records import from_mapping, to_mapping
from co2net_runtime.files.text import read_json
from co2net_runtime.options import SnippetTiming

EXTRACTION_NAME = "extraction.json"
OVERRIDE = "--accept-mismatch"

PrecisionClass = Literal["float", "int8"]


@dataclass(frozen=True)
class StreamIdentity:
    """The backbone of one stream, as far as it decides the features."""

    name: str  # architecture
    weights: str  # rgb_imagenet, flow_imagenet, rgb_scratch, flow_scratch or unknown
    weights_sha256: str  # of the tensors
    width: int  # of a feature row
    precision: PrecisionClass  # "float" for fp32 and fp16, which agree to a cosine of 0.9999
    scaling: Scaling = field(default_factory=Scaling)  # levels to numbers
    flow: Flow | None = None  # how the flow was computed, None for RGB

    @staticmethod
    def of(contract: BackboneContract, flow: Flow | None) -> "StreamIdentity":
        """Return the identity of a backbone that is fed that flow."""
        return StreamIdentity(
            name=contract.name,
            weights=contract.weights,
            weights_sha256=contract.weights_sha256,
            width=contract.width,
            precision="int8" if contract.precision.startswith("int8") else "float",
            scaling=contract.scaling,
            flow=flow,
        )

    def __str__(self) -> str:
        words = [f"{self.name} {self.weights} {self.weights_sha256[:8]}"]
        if self.flow is not None:
            words.append(f"on {self.flow.algorithm} flow")
            if self.flow.bound != Flow().bound:
                words.append(f"within {self.flow.bound:g} pixels")
        return " ".join((*words, self.precision))


@dataclass(frozen=True)
class Extraction:
    """How features were made.

    Two are the same if all fields but `versions` are: the same weights, flow, timing, size and
    class of precision. Versions of libraries move features less than a neighboring snippet does.
    """

    rgb: StreamIdentity
    flow: StreamIdentity | None  # None: RGB alone
    timing: SnippetTiming  # snippet_frames and fps
    short_side: int  # pixels of the shorter side after resizing
    crop: int  # pixels of the side of the center crop
    versions: Mapping[str, str] = field(default_factory=dict)  # of decoder, OpenCV, engine, co2net

    @property
    def width(self) -> int:
        """Width of a feature row: RGB, then flow."""
        return self.rgb.width + (self.flow.width if self.flow else 0)

    def __str__(self) -> str:
        """Return it in one line."""
        streams = f"RGB {self.rgb}" + (f", flow {self.flow}" if self.flow else ", no flow")
        timing = f"{self.timing.snippet_frames} frames at {self.timing.fps:g} fps"
        return f"{streams}, {timing}, short side {self.short_side}, crop {self.crop}"

    def differs(self, other: "Extraction") -> str | None:
        """Describe how two extractions differ, as "A, there B"; None if they agree."""
        mine, others = self._identity(), other._identity()
        if mine == others:
            return None
        if str(self) != str(other):
            return f"{self}; there: {other}"
        # what the line leaves out: scaling, or digits of the checksum
        keys = [key for key in mine if mine[key] != others[key]]
        return "; ".join(f"{key} {mine[key]}; there: {others[key]}" for key in keys)

    def to_mapping(self) -> dict[str, Any]:
        """Return the plain values that extraction.json and contracts hold."""
        return to_mapping(self)

    @staticmethod
    def from_mapping(mapping: Any, where: str) -> "Extraction":
        """Read what `to_mapping` returned. Raises InputError naming `where` if it is damaged."""
        return from_mapping(Extraction, mapping, where)

    def write(self, folder: Path) -> None:
        """Write extraction.json into a folder of features, atomically."""
        text = json.dumps(self.to_mapping(), indent=2, sort_keys=True)
        write_text(folder / EXTRACTION_NAME, text + "\n")

    def _identity(self) -> dict[str, Any]:
        mapping = self.to_mapping()
        del mapping["versions"]
        return mapping


def read_extraction(folder: Path) -> Extraction | None:
    """Return how a folder's features were made; None where no extraction.json says it.

    Raises InputError if the file is damaged.
    """
    file = folder / EXTRACTION_NAME
    if not file.exists():
        return None
    return Extraction.from_mapping(read_json(file, "the origin of features"), str(file))
