"""Backbone -> proven artefact: lower, compare features with the reference, then name."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from co2net.backbone.i3d import I3D
from co2net.backbone.weights import Weights
from co2net_export.backbone.clips import Clip, Clips, made_up_clips
from co2net_export.backbone.graph import i3d_graph
from co2net_export.backbone.int8 import quantize_backbone
from co2net_export.backbone.parity import GATES, FeatureGate, FeatureParity, Rows, compare
from co2net_export.graph.convert import DEFAULT_OPSET
from co2net_export.graph.session import open_graph, open_session
from co2net_export.graph.write import check_file, set_contract, staging, versions, write_model
from co2net_export.names import check_name
from co2net_export.precision.fp16 import edges, to_half, with_rounding
from co2net_export.precision.int8 import layer_names
from co2net_runtime.artefact.backbone import (
    CLIPS_INPUT,
    FEATURES_OUTPUT,
    BackboneContract,
    BackbonePrecision,
    Flow,
    Stream,
)
from co2net_runtime.cli.console import progress
from co2net_runtime.errors import BackendError, GateError, InputError

# rows of one clip alone and among others: engines sum in other orders
BATCH_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Backbone:
    """A backbone that can be exported."""

    graph: onnx.ModelProto  # in the contract's precision
    contract: BackboneContract  # its parity still empty
    reference: Callable[[Clip], Rows]  # features (width,) of a clip


@dataclass(frozen=True)
class BackboneArtefact:
    """One written file and what was measured on it."""

    path: Path
    contract: BackboneContract
    parity: FeatureParity
    failures: tuple[str, ...]  # what a gate would have refused


def i3d_backbone(
    weights: Weights, stream: Stream, *, flow: Flow | None = None, logits: bool = False
) -> Backbone:
    """Make an I3D network ready for export.

    Args:
        weights: Of that stream.
        stream: "rgb" or "flow".
        flow: What the flow stream reads; None for RGB.
        logits: Whether the artefact puts out the class scores, too.
    """
    model = weights.build()
    contract = BackboneContract(
        stream=stream,
        name="i3d" if model.divisor == 1 else f"i3d/{model.divisor}",
        weights=weights.identity,
        weights_sha256=weights.sha256,
        width=model.width,
        opset=DEFAULT_OPSET,
        flow=flow,
        classes=model.classes if logits else 0,
        versions=versions(),
    )
    _, frames, height, width = contract.clip_shape
    graph = i3d_graph(model, (frames, height, width), logits=logits, opset=DEFAULT_OPSET)
    return Backbone(graph, contract, lambda clip: _torch_features(model, clip))


def export_backbone(
    backbone: Backbone,
    path: Path,
    *,
    precision: BackbonePrecision = "fp32",
    clips: Clips | None = None,
    gate: FeatureGate | None = None,
    enforce: bool = True,
    quiet: bool = False,
) -> BackboneArtefact:
    """Write a backbone's artefact; it gets its name only if its features are the reference's.

    Args:
        backbone: What to export.
        path: The ONNX file to write.
        precision: "fp32", "fp16" or "int8-cpu".
        clips: Clips to calibrate and to judge on; without them made-up clips judge.
        gate: The bounds; by default the precision's.
        enforce: False writes the file whatever was measured, and its contract says so.
        quiet: No progress on stderr.

    Raises:
        InputError: int8 has no clips, or the name speaks of another precision.
        GateError: The features are too far from the reference's.
        BackendError: ONNX Runtime refuses the graph.
    """
    contract = dataclasses.replace(backbone.contract, precision=precision)
    check_name(path, contract.precision)
    gate = gate or GATES[precision]
    with staging(path) as folder:
        graph, judges = _lower(backbone, contract, clips, quiet)
        file = folder / path.name
        set_contract(graph, contract)
        write_model(graph, file)
        check_file(file)
        with progress(judges, "comparing features", length=len(judges), quiet=quiet) as judging:
            parity = _measure(backbone, file, graph, contract, judging)
        failures = parity.failures(gate)
        if failures and enforce:
            raise GateError(
                f"{path.name}: the {precision} features are too far from the reference's "
                f"({'; '.join(failures)}): nothing was written; --gate moves the bounds"
            )
        contract = dataclasses.replace(
            contract, parity=parity.to_mapping(gate if enforce else None)
        )
        set_contract(graph, contract)
        write_model(graph, file)
    return BackboneArtefact(path, contract, parity, failures)


def _lower(
    backbone: Backbone, contract: BackboneContract, clips: Clips | None, quiet: bool
) -> tuple[onnx.ModelProto, Clips | tuple[Clip, ...]]:
    """Return the graph in the contract's precision, and the clips that judge it."""
    judges: Clips | tuple[Clip, ...] = made_up_clips(contract) if clips is None else clips
    if contract.precision == backbone.contract.precision:
        return backbone.graph, judges
    if contract.precision == "fp16":
        return to_half(backbone.graph, edges(backbone.graph, _layers(backbone.graph))), judges
    if clips is None:
        raise InputError("int8-cpu needs clips to calibrate on: name them with --calibration")
    calibration, judges = clips.split()
    with progress(calibration, "calibrating", length=len(calibration), quiet=quiet) as measured:
        return quantize_backbone(backbone.graph, measured), judges


def _layers(graph: onnx.ModelProto) -> tuple[str, ...]:
    """Return the names of the convolutions; the average and the classifier follow them."""
    convolutions = {node.name for node in graph.graph.node if node.op_type == "Conv"}
    return tuple(name for name in layer_names(graph) if name in convolutions)


def _measure(
    backbone: Backbone,
    file: Path,
    graph: onnx.ModelProto,
    contract: BackboneContract,
    clips: Iterable[Clip],
) -> FeatureParity:
    session = open_session(file)
    rounded = contract.precision == "fp16" and backbone.contract.precision != "fp16"
    # the file must run, but its figures on a CPU would flatter it
    measured = open_graph(with_rounding(graph)) if rounded else session
    pairs = []
    kept: list[Clip] = []
    for clip in clips:
        row = run(measured, clip[None])[0]
        if row.shape != (contract.width,) or not np.isfinite(row).all():
            raise BackendError(f"{file.name}: the features are not {contract.width} finite numbers")
        pairs.append((backbone.reference(clip), row))
        if len(kept) < 2:
            kept.append(clip)
    _check_batches(session, kept, file.name)
    return compare(pairs)


def _check_batches(session: Any, clips: list[Clip], name: str) -> None:
    """Check that clips in one batch get the rows that they get alone.

    Raises:
        BackendError: They do not, or the graph takes no batch of that size.
    """
    alone = np.concatenate([run(session, clip[None]) for clip in clips])
    for repeats in (2, 3):
        together = run(session, np.concatenate([np.stack(clips)] * repeats)[: repeats + 1])
        wanted = np.concatenate([alone] * repeats)[: repeats + 1]
        bound = BATCH_TOLERANCE * max(1.0, float(np.abs(alone).max()))
        if together.shape != wanted.shape or not np.abs(together - wanted).max() <= bound:
            raise BackendError(
                f"{name}: a clip's features depend on the batch that it is in: export the network "
                "in inference mode with a dynamic batch axis"
            )


def run(session: Any, clips: Clip) -> npt.NDArray[np.float32]:
    """Return the features (B, width) of clips (B, channels, frames, height, width).

    Raises:
        BackendError: The engine fails.
    """
    try:
        rows: npt.NDArray[np.float32] = session.run([FEATURES_OUTPUT], {CLIPS_INPUT: clips})[0]
    except Exception as error:  # ONNX Runtime's errors share no public base class
        reason = str(error).strip().splitlines()[0]
        raise BackendError(f"ONNX Runtime fails on {len(clips)} clips: {reason}") from error
    return rows


def _torch_features(model: I3D, clip: Clip) -> Rows:
    with torch.inference_mode():
        features, _ = model(torch.from_numpy(clip[None]))
    rows: Rows = features[0].numpy()
    return rows
