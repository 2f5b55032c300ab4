"""co2net-export: a checkpoint becomes ONNX artefacts."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from co2net.cli.dataset_options import DATASET_GROUPS, dataset_options
from co2net.data.dataset import DatasetOptions
from co2net_runtime.artefact.contract import Optimize, Precision
from co2net_runtime.cli.console import Command, note, quiet_option, version_option
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder
from co2net_runtime.files.records import to_mapping
from co2net_runtime.options import SnippetTiming

if TYPE_CHECKING:
    from co2net.checkpoint import Checkpoint
    from co2net_export.export import Exporter
    from co2net_export.parity.gate import Gate

_PATH = click.Path(path_type=Path)


OPTION_GROUPS = {
    "int8": "--calibration-videos --calibration-method --float-layer --strict --sensitivity",
    "Gate": "--gate --bf16 --no-gate --held-out-videos",
    "Published checkpoint": "--published --pool-kernel",
    **DATASET_GROUPS,
    "Data": f"--data {DATASET_GROUPS['Data']}",
}


@click.command("co2net-export", cls=Command, option_groups=OPTION_GROUPS)
@click.argument("checkpoint", type=_PATH)
@click.argument("out", type=_PATH)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="What the graph computes in; inputs and outputs stay fp32.",
)
@click.option(
    "--data",
    "--calibration",  # its name before it also judged; scripts still say it
    "data",
    type=_PATH,
    metavar="DATA",
    help="Dataset: its test videos judge decisions and mAP, its training videos calibrate int8.",
)
@click.option(
    "--calibration-videos",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many of DATA's training videos calibrate.",
)
@click.option(
    "--calibration-method",
    type=click.Choice(["min-max", "percentile", "entropy"]),
    default="percentile",
    show_default=True,
    help="How int8 ranges follow from the activations' values.",
)
@click.option(
    "--held-out-videos",
    type=click.IntRange(min=1),
    metavar="N",
    help="Judge on N of DATA's test videos. Default: all.",
)
@click.option(
    "--float-layer",
    "float_layers",
    multiple=True,
    metavar="NAME",
    help="Keep another layer in float; repeatable. --sensitivity names them.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse an int8 graph that misses the gate. Default: keep its most costly layers in "
    "float, one after another, until it passes.",
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Print the cost of lowering each layer alone, and write nothing.",
)
@click.option(
    "--optimize",
    type=click.Choice(["cpu"]),
    help="Rewrite the fp32 graph for CPUs: about twice as fast from 80 snippets a call, and 2.6 "
    "times the size.",
)
@click.option("--chunks", is_flag=True, help="Also write the chunk graph, NAME.chunk.onnx.")
@click.option(
    "--live",
    is_flag=True,
    help="Also write the graph for co2net-infer --live, NAME.live.onnx; fp32 only. With DATA it "
    "also holds the mean features of the training videos.",
)
@click.option("--opset", type=int, default=20, show_default=True, help="ONNX opset, 18 to 21.")
@click.option(
    "--external-data", is_flag=True, help="Weights in a second file, for more than 2 GB of them."
)
@click.option(
    "--gate",
    "bounds",
    multiple=True,
    metavar="KEY=VALUE",
    help="Move a bound on the differences from PyTorch: max_abs, mean_abs, segments, map_points; "
    "VALUE none lifts it. Repeatable.",
)
@click.option(
    "--bf16",
    is_flag=True,
    help="Also judge the file as co2net-infer --bf16 computes it, by bounds of its own that --gate "
    "moves, too. Needs OpenVINO and a processor with bfloat16.",
)
@click.option("--no-gate", is_flag=True, help="Write OUT whatever is measured; it will say so.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--published", is_flag=True, help="CHECKPOINT is a published CO2-Net state dict.")
@click.option(
    "--pool-kernel",
    type=int,
    default=1,
    show_default=True,
    help="Pooling kernel of a published ANT_CO2 checkpoint, 13 as published; 1 for CO2.",
)
@dataset_options
@quiet_option
@version_option
def main(
    checkpoint: Path,
    out: Path,
    precision: Precision,
    data: Path | None,
    calibration_videos: int,
    calibration_method: str,
    held_out_videos: int | None,
    float_layers: tuple[str, ...],
    strict: bool,
    sensitivity: bool,
    optimize: Optimize | None,
    chunks: bool,
    live: bool,
    opset: int,
    external_data: bool,
    bounds: tuple[str, ...],
    bf16: bool,
    no_gate: bool,
    overwrite: bool,
    published: bool,
    pool_kernel: int,
    dataset_options: DatasetOptions,
    quiet: bool,
) -> None:
    """Export CHECKPOINT to the ONNX file OUT and check that it agrees with the PyTorch model.

    CHECKPOINT is a file, or the folder of a training run, whose best.ckpt is taken. OUT is a file
    or a folder, in which the file is called NAME.PRECISION.onnx after the checkpoint
    (NAME.fp32-cpu.onnx with --optimize cpu). It is only written if its outputs, its decisions and
    its mAP are those of the PyTorch model within the precision's bounds; decisions and mAP are
    compared where DATA is given. A model card, NAME.md, goes beside it. With --published, --classes
    names the model's classes, and --stride, --fps and --offset-frames set its snippet timing.

    Exit codes: 0 written, 2 wrong input, 3 the gate is not met and nothing was written.

    \b
    Examples:
      co2net-export run/ model.onnx --chunks --live
      co2net-export co2.pkl model.onnx --published --classes classes.txt
      co2net-export run/best.ckpt fast.onnx --optimize cpu
      co2net-export run/best.ckpt out/ --precision int8-cpu --data thumos14/
      co2net-export run/best.ckpt out/ --precision int8-trt --data thumos14/ --sensitivity
    """
    from co2net_export.names import check_form
    from co2net_export.parity.gate import with_bf16
    from co2net_export.precision.options import FLOAT_LAYERS, PrecisionOptions
    from co2net_export.report_text import print_gain, print_report
    from co2net_runtime.files.records import from_mapping

    if out.suffix not in ("", ".onnx") and not out.is_dir() and not sensitivity:
        raise click.UsageError(
            f"{out}: expected a name that ends in .onnx, or a folder: one that is there, or one "
            "without an ending"
        )
    if checkpoint.is_dir():
        checkpoint = _checkpoint_of_run(checkpoint, quiet)
    if data is None:
        _check_used(dataset_options, published)
    check_form(precision, live=live, optimize=optimize or "none", bf16=bf16)
    loaded = _load(checkpoint, published, pool_kernel, dataset_options)
    floats = dict.fromkeys((*FLOAT_LAYERS, *float_layers))
    options = from_mapping(
        PrecisionOptions,
        {"precision": precision, "method": calibration_method, "float_layers": list(floats)},
        "options",
    )
    exporter = _exporter(
        loaded, checkpoint, opset, data, dataset_options, calibration_videos,
        held_out_videos, quiet,
    )  # fmt: skip
    if sensitivity:
        from co2net_export.sensitivity import sweep, table

        histograms = exporter.histograms(options)
        rows = sweep(exporter.graph(), options, histograms, exporter.held_out, quiet=quiet)
        for line in table(rows):
            click.echo(line)
        return
    if out.suffix != ".onnx":
        kind = f"{precision}-{optimize}" if optimize else precision
        out = output_folder(out) / f"{checkpoint.stem}.{kind}.onnx"
    artefacts = exporter.write(
        out,
        options,
        gate=_gate(precision, optimize or "none", bounds),
        bf16=_gate(with_bf16(precision), "none", bounds) if bf16 else None,
        enforce=not no_gate,
        strict=strict,
        chunks=chunks,
        optimize=optimize or "none",
        live=live,
        external_data=external_data,
        overwrite=overwrite,
    )
    for artefact in artefacts:
        print_report(artefact, quiet=quiet)
        click.echo(artefact.path)
    if not quiet:
        print_gain(exporter, artefacts[0], options)


def _checkpoint_of_run(run: Path, quiet: bool) -> Path:
    best = run / "best.ckpt"
    if not best.is_file():
        last = " (it has last.ckpt: name that file)" if (run / "last.ckpt").is_file() else ""
        raise InputError(f"{run}: a folder without best.ckpt{last}: expected a checkpoint file")
    note(f"{run} is a folder: exporting {best}", quiet=quiet)
    return best


def _load(
    path: Path, published: bool, pool_kernel: int, dataset_options: DatasetOptions
) -> "Checkpoint":
    # torch takes seconds to import: --help must not
    from co2net.checkpoint import Checkpoint
    from co2net.data.annotations import read_class_list

    if published:
        if dataset_options.classes is None:
            raise click.UsageError("--published needs --classes FILE")
        classes = read_class_list(dataset_options.classes)
        loaded = Checkpoint.from_published(path, classes=classes, pool_kernel=pool_kernel)
    elif pool_kernel != 1:
        raise click.UsageError("--pool-kernel goes with --published: CHECKPOINT carries its own")
    else:
        loaded = Checkpoint.load(path)
    return dataclasses.replace(loaded, timing=dataset_options.timing_over(loaded.timing))


def _check_used(dataset_options: DatasetOptions, published: bool) -> None:
    """Raise UsageError for an option of the dataset where there is none."""
    of_the_model = {*SnippetTiming.__dataclass_fields__, *(("classes",) if published else ())}
    for name, default in to_mapping(DatasetOptions()).items():
        if name not in of_the_model and getattr(dataset_options, name) != default:
            more = " or --published" if name == "classes" else ""
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is about DATA: it goes with --data{more}")


def _exporter(
    loaded: "Checkpoint",
    path: Path,
    opset: int,
    data: Path | None,
    dataset_options: DatasetOptions,
    calibration_videos: int,
    held_out_videos: int | None,
    quiet: bool,
) -> "Exporter":
    from co2net.data.dataset import open_dataset
    from co2net_export.export import Exporter
    from co2net_export.parity.videos import calibration_split
    from co2net_runtime.files.atomic import sha256

    dataset = split = None
    if data is not None:
        dataset = open_dataset(data, dataset_options)
        split = calibration_split(
            dataset, calibration_count=calibration_videos, held_out_count=held_out_videos
        )
        if dataset.timing != loaded.timing:
            note(
                f"warning: {data} has a snippet every {dataset.timing.snippet_frames} "
                f"frames at {dataset.timing.fps:g} fps, the model was trained on "
                f"{loaded.timing.snippet_frames} at {loaded.timing.fps:g}",
                quiet=quiet,
            )
    return Exporter(
        loaded,
        checkpoint_sha256=sha256(path),
        opset=opset,
        dataset=dataset,
        split=split,
        quiet=quiet,
    )


def _gate(precision: str, optimize: str, bounds: tuple[str, ...]) -> "Gate":
    from co2net_export.parity.gate import Gate, default_gate
    from co2net_runtime.files.records import from_mapping

    values = to_mapping(default_gate(precision, optimize))
    for bound in bounds:
        name, _, value = bound.partition("=")
        try:
            values[name] = None if value == "none" else float(value)
        except ValueError as error:
            raise click.UsageError(f"--gate {bound}: expected KEY=NUMBER or KEY=none") from error
    return from_mapping(Gate, values, "--gate")


if __name__ == "__main__":
    main()
