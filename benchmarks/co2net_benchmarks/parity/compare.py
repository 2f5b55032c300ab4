"""One artefact in the runtime against the PyTorch model: tensors, decisions, mAP."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from co2net_benchmarks.parity.margins import measure_margins
from co2net_benchmarks.parity.reference import ReferenceSet, ReferenceVideo, group_order
from co2net_benchmarks.parity.results import ArtefactParity, TensorRow
from co2net_export.parity.gate import default_gate
from co2net_export.parity.report import Difference, ParityReport, TensorParity
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.cli import console
from co2net_runtime.decoding.decisions import Outputs, compare_decisions
from co2net_runtime.errors import BackendError, InputError
from co2net_runtime.files.text import number_of
from co2net_runtime.localizer import Localizer


def compare_artefact(
    name: str,
    path: Path,
    localizer: Localizer,
    references: ReferenceSet,
    checkpoint_sha256: str,
    *,
    quiet: bool = False,
) -> ArtefactParity:
    """Run an artefact on all videos and compare its outputs with the references.

    Raises:
        InputError: It does not fit the checkpoint.
        BackendError: The engine fails or gives values that are not finite.
    """
    contract = localizer.contract
    _check_fits(contract, references, path)
    with console.progress(references.videos, name, quiet=quiet) as bar:
        outputs = [_run(localizer, one) for one in bar]
    tensors = _tensor_rows(references.videos, outputs)
    everything = _tensor_row("all", references.videos, outputs)
    overall = TensorParity(everything.cas, everything.attention, everything.scale)
    judged = outputs[-len(references.judged) :]
    expected = [one.reference for one in references.judged]
    decisions = compare_decisions(expected, judged, contract.decode)
    accuracy = references.accuracy(judged)
    precision = computed_precision(localizer)
    gate = default_gate(precision, contract.optimize)
    report = ParityReport(overall, decisions if references.given else None, accuracy)
    return ArtefactParity(
        name=name,
        file=path.name,
        model_bytes=path.stat().st_size,
        status="measured",
        precision=precision,
        same_checkpoint=contract.checkpoint_sha256 == checkpoint_sha256,
        tensors=tensors,
        overall=overall,
        decisions=decisions,
        decisions_judged=bool(references.given),
        margins=measure_margins(expected, judged, contract.decode),
        accuracy=accuracy,
        gate=gate,
        failures=report.failures(gate),
    )


def computed_precision(localizer: Localizer) -> str:
    """Return the file's precision, or with --bf16 the engine's."""
    if localizer.network.options.bf16:
        return localizer.engine.precision
    return localizer.contract.precision


def _check_fits(contract: Contract, references: ReferenceSet, path: Path) -> None:
    checkpoint = references.checkpoint
    if contract.graph != "whole":
        raise InputError(f"{path}: a chunk graph: compare the whole-video file beside it")
    found = (contract.classes, contract.rgb_dim, contract.flow_dim)
    model = checkpoint.model
    if found != (checkpoint.classes, model.rgb_dim, model.flow_dim):
        raise InputError(
            f"{path}: {number_of(len(contract.classes), 'class')} on {contract.rgb_dim} + "
            f"{contract.flow_dim} "
            f"channels, the checkpoint has {model.classes} on {model.rgb_dim} + {model.flow_dim}, "
            "or they have other names: it was exported from another one"
        )


def _run(localizer: Localizer, video: ReferenceVideo) -> Outputs:
    (found,) = localizer.network.run([video.load()])
    for name, values in (("cas", found.cas), ("attention", found.attention)):
        if not np.isfinite(values).all():
            raise BackendError(
                f"{name} is not finite ({video.group}, {number_of(len(found.cas), 'snippet')}); "
                "--bisect shows where that begins"
            )
    return Outputs(found.cas, found.attention)


def _tensor_rows(
    videos: Sequence[ReferenceVideo], outputs: Sequence[Outputs]
) -> tuple[TensorRow, ...]:
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(videos):
        groups.setdefault(one.group, []).append(index)
    return tuple(
        _tensor_row(name, [videos[i] for i in chosen], [outputs[i] for i in chosen])
        for name, chosen in sorted(groups.items(), key=lambda item: group_order(item[0]))
    )


def _tensor_row(
    group: str, videos: Sequence[ReferenceVideo], outputs: Sequence[Outputs]
) -> TensorRow:
    pairs = [(one.reference, found) for one, found in zip(videos, outputs, strict=True)]
    cas = np.concatenate([np.abs(a.cas - b.cas).ravel() for a, b in pairs])
    attention = np.concatenate([np.abs(a.attention - b.attention) for a, b in pairs])
    return TensorRow(
        group=group,
        videos=len(pairs),
        snippets=len(attention),
        scale=max(1.0, *(float(np.abs(reference.cas).max()) for reference, _ in pairs)),
        cas=Difference.of(cas),
        attention=Difference.of(attention),
    )
