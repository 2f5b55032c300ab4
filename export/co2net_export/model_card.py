"""The model card: a contract as a page of Markdown that people read before they use a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from co2net_runtime.artefact.contract import Contract


def model_card(name: str, contracts: Mapping[str, Contract]) -> str:
    """Return the card of an artefact.

    Args:
        name: Its file name without `.onnx`.
        contracts: Of its files by name, the graph for whole videos first.

    Returns:
        Markdown. Equal contracts give equal cards.
    """
    contract = next(iter(contracts.values()))
    timing = contract.timing
    sections = [
        f"# {name}",
        "CO2-Net: weakly supervised temporal action localization on two-stream features. Written "
        f"by co2net-export {contract.versions.get('co2net', '')}.",
        "## Files",
        _table(
            ("file", "graph", "computes in", "inputs", "outputs"),
            [
                (file, one.graph, one.precision, ", ".join(one.inputs), ", ".join(one.outputs))
                for file, one in contracts.items()
            ],
        ),
        "## Input",
        f"Features of {contract.feature_dim} channels a snippet, {contract.rgb_dim} of RGB first, "
        f"then {contract.flow_dim} of optical flow; a snippet every {timing.snippet_frames} frames "
        f"at {timing.fps:g} frames per second.",
        _extraction(contract.extraction),
        "## Classes",
        f"{len(contract.classes)}: {', '.join(contract.classes)}.",
        "## Agreement with the PyTorch model",
        _parity(contract.parity),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(contract)),
        "## Origin",
        f"Checkpoint with SHA-256 `{contract.checkpoint_sha256}`. "
        + ", ".join(f"{program} {version}" for program, version in contract.versions.items())
        + f"; ONNX opset {contract.opset}.",
    ]
    return "\n\n".join(sections) + "\n"


def card_path(path: Path) -> Path:
    """Return the path of the card of an artefact NAME.onnx: NAME.md."""
    return path.with_suffix(".md")


def _extraction(extraction: Mapping[str, Any] | None) -> str:
    if extraction is None:
        return (
            "How the features of the training videos were extracted is not recorded: use those of "
            "the same extractor, since others of the same width give wrong results without a sign."
        )
    rows = [(name, str(value)) for name, value in extraction.items() if value is not None]
    return "The features of the training videos were extracted so:\n\n" + _table(
        ("setting", "value"), rows
    )


def _parity(parity: Mapping[str, Any]) -> str:
    tensors = parity["tensors"]
    lines = [
        "Largest and mean absolute difference on random features: "
        f"cas {tensors['cas']['max_abs']:.1e} and {tensors['cas']['mean_abs']:.1e}, attention "
        f"{tensors['attention']['max_abs']:.1e} and {tensors['attention']['mean_abs']:.1e}."
    ]
    decisions, accuracy, gate = (parity.get(key) for key in ("decisions", "accuracy", "gate"))
    if decisions is None:
        lines.append("Segments and mAP were not compared: no dataset was given at export.")
    else:
        lines.append(
            f"Of {decisions['segments']} segments in {decisions['videos']} videos, "
            f"{decisions['lost']} are lost, {decisions['added']} added and {decisions['moved']} "
            "moved by more than a snippet."
        )
    if accuracy is not None:
        lines.append(
            f"Average mAP over tIoU 0.1:0.7 on these videos: {accuracy['artefact']:.2f} %, PyTorch "
            f"{accuracy['reference']:.2f} %."
        )
    kept = parity.get("kept_in_float")
    if kept:
        lines.append(f"Kept in float to meet the bounds: {', '.join(kept)}.")
    if gate is None:
        lines.append("No bounds were enforced (`--no-gate`).")
    else:
        bounds = ", ".join(f"{key} {value:g}" for key, value in gate.items() if value is not None)
        lines.append(f"Enforced bounds: {bounds or 'none'}.")
    rounded = parity.get("bf16")
    if rounded is not None:
        lines += [f"With --bf16: {line[2:]}" for line in _parity(rounded).splitlines()]
    return "\n".join(f"- {line}" for line in lines)


def _limits(contract: Contract) -> list[str]:
    snippet = contract.timing.snippet_frames / contract.timing.fps
    lines = [
        f"Starts and ends are multiples of a snippet, {snippet:.3g} s.",
        "It names the classes above and no others; whatever resembles one of them may be found.",
        "Scores order segments within and across videos; they are not probabilities.",
    ]
    if contract.precision == "int8-trt":
        lines.append("Made for TensorRT; slow on a CPU.")
    if contract.optimize == "cpu":
        lines.append("Made for CPUs.")
    return lines


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
