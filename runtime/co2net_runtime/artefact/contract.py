"""The contract in a model file: everything the runtime must know besides the graph."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from co2net_runtime.errors import ContractError, InputError
from co2net_runtime.files.records import from_mapping, take_schema_version, to_mapping
from co2net_runtime.files.text import number_of, parse_json
from co2net_runtime.options import DecodeOptions, SnippetTiming

METADATA_KEY = "co2net"
# 1 called the chunk graph "stream"
SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
# kinds of contracts: the key "kind" of the JSON text; a model's has no such key
MODEL, BACKBONE = "model", "backbone"

GraphKind = Literal["whole", "chunk", "live"]
Precision = Literal["fp32", "fp16", "int8-cpu", "int8-trt"]
Optimize = Literal["none", "cpu"]
INPUT_NAMES = ("features", "lengths")
OUTPUT_NAMES = ("cas", "attention")
# of the graph for live streams
LIVE_INPUT_NAMES = ("features", "position", "length", "context", "state")
LIVE_OUTPUT_NAMES = (*OUTPUT_NAMES, "next_state")
# In graphs optimized for the CPU, this initializer holds the number of snippets in a call (plus
# one for each video) from which the fast form runs; from MIN_ROWS on it was faster with 1 and 2
# threads.
MIN_ROWS_NAME = "min_rows"
MIN_ROWS = 80
NEVER = 2**62  # no call has so many
# no sensible model has wider layers: a damaged number is refused before memory is taken for it
WIDEST = 1 << 20


@dataclass(frozen=True)
class ReceptiveField:
    """Snippets on either side that an output depends on, besides the temporal mean."""

    cas: int = 2
    attention: int = 3

    @property
    def halo(self) -> int:
        """Neighbors on either side that a chunk of a video must come with."""
        return max(self.cas, self.attention)


@dataclass(frozen=True)
class Contract:
    """The contract of one ONNX file.

    Inputs: features (B, T, feature_dim) float32, lengths (B,) int64. Outputs: cas
    (B, T, C + 1) float32 logits with background last, attention (B, T, 1) float32; both are 0
    from `lengths` on.
    """

    classes: tuple[str, ...]  # the C class names
    rgb_dim: int  # channels of the RGB stream, which comes first
    flow_dim: int  # channels of the flow stream
    opset: int  # ONNX opset of the graph
    checkpoint_sha256: str  # of the checkpoint file
    timing: SnippetTiming = SnippetTiming()
    decode: DecodeOptions = DecodeOptions()
    pool_kernel: int = 1  # kernel of ANT_CO2's temporal pooling, 1 for none
    receptive_field: ReceptiveField = ReceptiveField()
    precision: Precision = "fp32"  # that the graph computes in
    optimize: Optimize = "none"  # the processor that the graph was rewritten for
    graph: GraphKind = "whole"  # for whole videos, chunks of a video or live streams
    inputs: tuple[str, ...] = INPUT_NAMES
    outputs: tuple[str, ...] = OUTPUT_NAMES
    # of each input and output, the names of the leading axes of free size, "batch" and "time"
    dynamic_axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)  # differences measured at export
    versions: Mapping[str, str] = field(default_factory=dict)  # of the programs that wrote it
    state_dim: int = 0  # of the live graph: width of the state carried from step to step
    # of the live graph: mean feature row (D,) of the training videos, empty without data
    context_prior: tuple[float, ...] = ()
    # of the training videos' features (`co2net_runtime.video.identity.Extraction`)
    extraction: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("the class list is empty")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("the class list names a class twice")
        widths = (self.rgb_dim, self.flow_dim)
        if not all(1 <= width <= WIDEST for width in widths):
            raise ValueError(
                f"stream widths must be 1 to {WIDEST}, got {widths[0]} and {widths[1]}"
            )
        margins = (self.receptive_field.cas, self.receptive_field.attention)
        if not all(0 <= margin <= WIDEST for margin in margins):
            raise ValueError(f"the receptive field must be 0 to {WIDEST} snippets, got {margins}")
        if not 1 <= self.pool_kernel <= WIDEST:
            raise ValueError(f"pool_kernel must be 1 to {WIDEST}, got {self.pool_kernel}")
        if not 0 <= self.state_dim <= WIDEST:
            raise ValueError(f"state_dim must be 0 to {WIDEST}, got {self.state_dim}")
        if "features" not in self.inputs or not {*OUTPUT_NAMES} <= {*self.outputs}:
            raise ValueError(
                f"the graph must take features and give {' and '.join(OUTPUT_NAMES)}, got "
                f"{', '.join(self.inputs)} and {', '.join(self.outputs)}"
            )
        if not all(map(math.isfinite, self.context_prior)):
            raise ValueError("the context prior holds values that are not finite")
        if len(self.context_prior) not in (0, self.feature_dim):
            raise ValueError(
                f"the context prior has {number_of(len(self.context_prior), 'value')}, the "
                f"features {self.feature_dim}"
            )

    @property
    def feature_dim(self) -> int:
        """Width D of a feature row: RGB then flow."""
        return self.rgb_dim + self.flow_dim

    def to_json(self) -> str:
        """Return the contract as the JSON text that the file's metadata holds."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **to_mapping(self)}, sort_keys=True)

    @staticmethod
    def from_json(text: str, where: str) -> "Contract":
        """Read the JSON text of the metadata; `where` names the file in errors.

        Raises ContractError if it is damaged or of another schema version.
        """
        mapping = upgraded(contract_mapping(text, where, kind=MODEL))
        try:
            return from_mapping(Contract, mapping, f"{where}: contract")
        except InputError as error:
            raise ContractError(str(error)) from error

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], where: str) -> "Contract":
        """Read the contract from an ONNX file's metadata map.

        Raises ContractError if there is none.
        """
        return Contract.from_json(contract_text(metadata, where, "co2net-export"), where)


def upgraded(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a contract of any readable schema version under their newest names."""
    return {**mapping, "graph": "chunk"} if mapping.get("graph") == "stream" else mapping


def contract_text(metadata: Mapping[str, str], where: str, writer: str) -> str:
    """Return the JSON text of a contract from an ONNX file's metadata.

    Args:
        metadata: The file's metadata map.
        where: Name of the file, for error texts.
        writer: The command that writes such files, for error texts.

    Raises:
        ContractError: There is no contract.
    """
    if METADATA_KEY not in metadata:
        raise ContractError(
            f"{where}: an ONNX file without a co2net contract (no {METADATA_KEY!r} in its "
            f"metadata): write it with {writer}"
        )
    return metadata[METADATA_KEY]


def contract_mapping(text: str, where: str, *, kind: str) -> dict[str, Any]:
    """Return a contract's JSON text as a mapping of its dataclass's fields.

    Args:
        text: The metadata's value.
        where: Name of the file, for error texts.
        kind: MODEL or BACKBONE, whichever is wanted.

    Raises:
        ContractError: The text is damaged, of another schema version or of another kind.
    """
    place = f"{where}: contract"
    try:
        mapping = parse_json(text, place, "a co2net contract")
        if not isinstance(mapping, dict):
            raise InputError(f"{place}: expected a JSON object, found {type(mapping).__name__}")
        remedy = "export again or update co2net"
        take_schema_version(mapping, place, READABLE_VERSIONS, remedy)
    except InputError as error:
        raise ContractError(str(error)) from error
    found = str(mapping.pop("kind", MODEL))
    if found != kind:
        expected = {
            MODEL: "a localization model (co2net-export writes one)",
            BACKBONE: "a backbone (co2net-backbone writes one)",
        }
        what = expected[found].partition(" (")[0] if found in expected else f"of kind {found!r}"
        raise ContractError(f"{where}: expected {expected[kind]}, the file is {what}")
    return mapping
