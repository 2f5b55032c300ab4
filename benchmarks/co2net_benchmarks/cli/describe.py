"""co2net-bench describe: what an ONNX file holds."""

import json
from collections.abc import Mapping
from pathlib import Path

import click

from co2net_benchmarks.graphs.describe import Description
from co2net_benchmarks.graphs.describe import describe as describe_file
from co2net_benchmarks.tables import Table, megabytes
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.cli import console
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench describe model.onnx
  co2net-bench describe model.int8-cpu.onnx --json
"""


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@console.version_option
def describe(model: Path, as_json: bool) -> None:
    """Print what the ONNX file MODEL holds: contract, size, weights, arithmetic, soundness.

    The exit code is 1 if ONNX's checker or its shape inference objects.
    """
    found = describe_file(model)
    if as_json:
        click.echo(json.dumps(to_mapping(found), indent=1))
    else:
        click.echo(render(found))
    if found.inference_error:
        click.get_current_context().exit(console.EXIT_SOME_FAILED)


def render(found: Description) -> str:
    """Return the description as text for a terminal."""
    lines = [
        found.path,
        *(_contract(found.contract) if found.contract else ["no co2net contract"]),
        *_file(found),
        "",
        _layer_table(found).to_text(),
    ]
    return "\n".join(lines)


def _contract(contract: Contract) -> list[str]:
    field = contract.receptive_field
    frames, fps = contract.timing.snippet_frames, contract.timing.fps
    lines = [
        _line("precision", contract.precision),
        _line("graph", contract.graph),
        _line("features", f"{contract.rgb_dim} RGB + {contract.flow_dim} flow channels"),
        _line("timing", f"a snippet every {frames} frames at {fps:g} fps ({frames / fps:g} s)"),
        _line(
            "receptive field",
            f"cas +-{field.cas}, attention +-{field.attention} snippets and the temporal mean; "
            f"pooling kernel {contract.pool_kernel}",
        ),
        _line("classes", f"{len(contract.classes)}: {_names(contract.classes)}"),
        _line("decoding", _pairs(to_mapping(contract.decode))),
        _line("checkpoint", f"SHA-256 {contract.checkpoint_sha256}"),
        _line("written by", ", ".join(f"{k} {v}" for k, v in contract.versions.items())),
    ]
    return [*lines, *_parity(contract)]


def _parity(contract: Contract) -> list[str]:
    parity = contract.parity
    if not parity:
        return [_line("parity", "not measured")]
    tensors = parity["tensors"]
    lines = [
        _line(
            "parity",
            "; ".join(
                f"{name} max {tensors[name]['max_abs']:.1e} mean {tensors[name]['mean_abs']:.1e} "
                f"p99.9 {tensors[name]['p999_abs']:.1e}"
                for name in contract.outputs
            )
            + f" (largest |cas| {tensors['scale']:.3g})",
        )
    ]
    decisions, accuracy, gate = (parity[name] for name in ("decisions", "accuracy", "gate"))
    if decisions:
        lines.append(_line("decisions", _pairs(decisions)))
    if accuracy:
        lines.append(_line("mAP", _pairs(accuracy)))
    bounds = {name: bound for name, bound in (gate or {}).items() if bound is not None}
    lines.append(_line("gate", _pairs(bounds) if gate else "none was applied (--no-gate)"))
    return lines


def _file(found: Description) -> list[str]:
    external = f" + {megabytes(found.external_bytes)} MB beside it" if found.external_bytes else ""
    stored = ", ".join(f"{megabytes(size)} MB {kind}" for kind, size in found.weight_bytes.items())
    per_snippet, per_video = (
        "unknown" if count is None else f"{count / 1e6:.3g} M"
        for count in (found.macs_per_snippet, found.macs_per_video)
    )
    return [
        _line("inputs", _pairs(found.inputs)),
        _line("outputs", _pairs(found.outputs)),
        _line("size", f"{megabytes(found.file_bytes)} MB{external}"),
        _line("parameters", f"{found.parameters / 1e6:.4g} M ({stored})"),
        _line("arithmetic", f"{per_snippet} MAC per snippet, {per_video} per video"),
        _line("nodes", _pairs(found.nodes)),
        _line("format", f"opset {found.opset}, IR {found.ir_version}, producer {found.producer}"),
        _line("ONNX checker", found.checker_error or "passes"),
        _line("shape inference", found.inference_error or "passes"),
    ]


def _layer_table(found: Description) -> Table:
    return Table(
        "Layers and their weights",
        ("layer", "op", "type", "shape", "MB"),
        tuple(
            (
                layer.name,
                layer.op,
                layer.weight_type,
                " x ".join(map(str, layer.weight_shape)),
                megabytes(layer.weight_bytes),
            )
            for layer in found.layers
        ),
    )


def _line(name: str, text: str) -> str:
    return f"  {name:<17}{text}"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _pairs(values: object) -> str:
    assert isinstance(values, Mapping)
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
