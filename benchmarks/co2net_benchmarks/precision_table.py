"""Which precision? `python -m co2net_benchmarks.precision_table CHECKPOINT DATA` prints it.

Exports the checkpoint in every precision, proves each on DATA's test videos and times them in
turns through the runtime: size, latency, differences from PyTorch, decisions, mAP in one table.
"""

import tempfile
from pathlib import Path

import click

from co2net.checkpoint import Checkpoint
from co2net.dataset_options import dataset_options as with_dataset_options
from co2net.datasets import DatasetOptions, open_dataset
from co2net_benchmarks.latency import LatencyOptions
from co2net_benchmarks.lengths import Lengths
from co2net_benchmarks.machine import describe_machine
from co2net_benchmarks.measure import LatencyResults, Plan, measure
from co2net_benchmarks.subjects import EngineOptions
from co2net_benchmarks.tables import Table, megabytes
from co2net_benchmarks.targets import Target
from co2net_export.cpu_graph import Optimize
from co2net_export.export import Artefact, Exporter
from co2net_export.material import choose
from co2net_export.precision import PRECISIONS, Precision, PrecisionOptions
from co2net_runtime import console
from co2net_runtime.files import output_folder, sha256, write_text

# the plain fp32 export is the reference of all ratios
VARIANTS: tuple[tuple[str, Precision, Optimize], ...] = (
    *((precision, precision, "none") for precision in PRECISIONS),
    ("fp32-cpu", "fp32", "cpu"),
)
_PATH = click.Path(path_type=Path)


@click.command(cls=console.Command)
@click.argument("checkpoint", type=_PATH)
@click.argument("data", type=_PATH)
@click.option("--lengths", type=Lengths(), default="320,750,1500", show_default=True)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Timed runs per artefact and length.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engine.")
@click.option(
    "--held-out-videos", type=click.IntRange(min=1), metavar="N", help="Default: all test videos."
)
@click.option("--keep", type=_PATH, metavar="DIR", help="Keep the artefacts there.")
@click.option("--out", type=_PATH, metavar="FILE", help="Also write the table as Markdown.")
@with_dataset_options
@console.quiet_option
@console.version_option
def main(
    checkpoint: Path,
    data: Path,
    lengths: tuple[int, ...],
    samples: int,
    threads: int | None,
    held_out_videos: int | None,
    keep: Path | None,
    out: Path | None,
    dataset_options: DatasetOptions,
    quiet: bool,
) -> None:
    """Export CHECKPOINT in every precision and compare: size, speed, decisions and mAP on DATA.

    Example: python -m co2net_benchmarks.precision_table run/best.ckpt thumos14/
    """
    dataset = open_dataset(data, dataset_options)
    exporter = Exporter(
        Checkpoint.load(checkpoint),
        checkpoint_sha256=sha256(checkpoint),
        dataset=dataset,
        material=choose(dataset, held_out_count=held_out_videos),
        quiet=quiet,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = output_folder(keep or name)
        artefacts = {}
        for variant, precision, optimize in VARIANTS:
            console.note(f"exporting {variant}", quiet=quiet)
            # a gate that is not met is a finding here, not the end
            (artefacts[variant],) = exporter.write(
                folder / f"{checkpoint.stem}.{variant}.onnx",
                PrecisionOptions(precision),
                enforce=False,
                optimize=optimize,
            )
        targets = [Target(name, "runtime", each.path) for name, each in artefacts.items()]
        plan = Plan(
            latency=LatencyOptions(lengths=lengths, samples=samples, cold=0),
            engine=EngineOptions(threads=threads),
            gemm=False,
        )
        timed = measure(targets, plan, quiet=quiet)
        table = make_table(artefacts, timed, lengths)
    click.echo(table.to_text())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")


def make_table(
    artefacts: dict[str, Artefact], timed: LatencyResults, lengths: tuple[int, ...]
) -> Table:
    """Return one row per artefact; its files must still be there."""
    rows = []
    for name, artefact in artefacts.items():
        proof = artefact.proof
        tensors, decisions, accuracy = proof.tensors, proof.decisions, proof.accuracy
        assert decisions is not None
        changes = (decisions.lost, decisions.added, decisions.moved)
        rows.append(
            (
                name,
                megabytes(artefact.path.stat().st_size),
                *(_speedup(timed, name, length) for length in lengths),
                f"{tensors.cas.max_abs:.1e} / {tensors.cas.mean_abs:.1e}",
                f"{tensors.attention.max_abs:.1e} / {tensors.attention.mean_abs:.1e}",
                " / ".join(map(str, changes)),
                f"{decisions.changed:.2%}",
                "-" if accuracy is None else f"{accuracy.artefact:.2f}",
                "-" if accuracy is None else f"{accuracy.difference:+.2f}",
                "missed" if artefact.failures else "met",
            )
        )
    fp32 = artefacts["fp32"].proof
    assert fp32.decisions is not None
    machine = describe_machine()
    return Table(
        "Precisions",
        (
            "artefact",
            "MB",
            *(f"speed T={length}" for length in lengths),
            "cas max / mean",
            "attention max / mean",
            "lost / added / moved",
            "changed",
            "mAP",
            "difference",
            "gate",
        ),
        tuple(rows),
        (
            "speed: times faster than the plain fp32 export, the network alone, one video at a "
            f"time, medians of turns ({machine.cpu}, {machine.cpus} processors).",
            "cas, attention: absolute difference from PyTorch on random features at several B and "
            f"T; the largest |cas| is {fp32.tensors.scale:.3g}.",
            f"lost / added / moved: of {fp32.decisions.segments} segments that score at least 0.1 "
            f"of their video's best, in {fp32.decisions.videos} held-out videos; moved by more "
            "than one snippet.",
            "mAP: average over tIoU 0.1:0.7, and its difference from PyTorch's, in points.",
            "fp16 is proved with every float16 value rounded, as a GPU does, and timed as this "
            "machine's engine runs it; int8-trt is made for TensorRT and slow on a CPU.",
        ),
    )


def _speedup(timed: LatencyResults, name: str, length: int) -> str:
    medians = {
        result.target: result.stages["network"].p50_s
        for result in timed.lengths
        if result.length == length
    }
    if name not in medians:
        return "-"
    return f"{medians['fp32'] / medians[name]:.2f}"


if __name__ == "__main__":
    main()
