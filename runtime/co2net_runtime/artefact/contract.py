"""What an artefact says of itself: everything the runtime must know besides the graph."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from co2net_runtime.errors import ContractError, InputError
from co2net_runtime.files.records import from_mapping, take_schema_version, to_mapping
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
# In graphs optimised for the CPU, the initializer that holds from how many snippets in a call, one
# more for each video, the fast form runs; from MIN_ROWS on it was faster with 1 and 2 threads.
MIN_ROWS_NAME = "min_rows"
MIN_ROWS = 80


@dataclass(frozen=True)
class ReceptiveField:
    """Snippets on either side that an output depends on, besides the temporal mean."""

    cas: int = 2
    attention: int = 3

    @property
    def halo(self) -> int:
        """Neighbours on either side that a chunk of a video must come with."""
        return max(self.cas, self.attention)


@dataclass(frozen=True)
class Contract:
    """The contract of one ONNX file.

    Inputs: features (B, T, feature_dim) float32, lengths (B,) int64. Outputs: cas
    (B, T, C + 1) float32 logits with background last, attention (B, T, 1) float32; both are 0
    from `lengths` on.

    classes: the C class names. rgb_dim, flow_dim: channels of the two streams, RGB first.
    pool_kernel: kernel of ANT_CO2's temporal pooling, 1 for none.
    precision: what the graph really computes in. optimize: the processor that the graph was
    rewritten for. opset: ONNX opset of the graph. dynamic_axes: of each input and output, the
    names of the leading axes whose size is free, "batch" and "time".
    checkpoint_sha256: of the checkpoint file. parity: differences measured at export.
    versions: of the programs that wrote the file. state_dim, context_prior: of the graph for
    live streams: width of what it carries from step to step, and the mean feature row (D,) of the
    training videos, empty where the exporter was given no data. extraction: what the features of
    the training videos were made with (`co2net_runtime.video.identity.Extraction`), or None.
    """

    classes: tuple[str, ...]
    rgb_dim: int
    flow_dim: int
    opset: int
    checkpoint_sha256: str
    timing: SnippetTiming = SnippetTiming()
    decode: DecodeOptions = DecodeOptions()
    pool_kernel: int = 1
    receptive_field: ReceptiveField = ReceptiveField()
    precision: Precision = "fp32"
    optimize: Optimize = "none"
    graph: GraphKind = "whole"
    inputs: tuple[str, ...] = INPUT_NAMES
    outputs: tuple[str, ...] = OUTPUT_NAMES
    dynamic_axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    state_dim: int = 0
    context_prior: tuple[float, ...] = ()
    extraction: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("the class list is empty")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("the class list names a class twice")
        if self.rgb_dim < 1 or self.flow_dim < 1:
            raise ValueError(
                f"stream widths must be at least 1, got {self.rgb_dim} and {self.flow_dim}"
            )
        if len(self.context_prior) not in (0, self.feature_dim):
            raise ValueError(
                f"the context prior has {len(self.context_prior)} values, the features "
                f"{self.feature_dim}"
            )

    @property
    def feature_dim(self) -> int:
        """Width D of a feature row: RGB then flow."""
        return self.rgb_dim + self.flow_dim

    def to_json(self) -> str:
        """Return the contract as the JSON text that stands in the file's metadata."""
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
    """Return the fields of a contract of any readable schema version as the newest names them."""
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
    try:
        mapping = json.loads(text)
    except ValueError as error:
        raise ContractError(f"{where}: its co2net contract is not valid JSON: {error}") from error
    if not isinstance(mapping, dict):
        raise ContractError(f"{where}: its co2net contract is not a JSON object")
    try:
        take_schema_version(
            mapping, f"{where}: contract", READABLE_VERSIONS, "export again or update co2net"
        )
    except InputError as error:
        raise ContractError(str(error)) from error
    found = mapping.pop("kind", MODEL)
    if found != kind:
        expected = {
            MODEL: "a localization model (co2net-export writes one)",
            BACKBONE: "a backbone (co2net-backbone writes one)",
        }
        what = expected[found].partition(" (")[0] if found in expected else f"of kind {found!r}"
        raise ContractError(f"{where}: expected {expected[kind]}, the file is {what}")
    return mapping
