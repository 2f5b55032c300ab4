"""Which precision? `python benchmarks/studies/precision_table.py ARTEFACT...` prints it.

The artefacts are timed in turns through the runtime; the rest stands in their contracts, as
co2net-export measured it. One table: size, speed, differences, decisions, mAP.
"""

import dataclasses
from pathlib import Path

import click

from co2net_benchmarks.cli.options import LENGTHS
from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.latency.run import LatencyResults, Plan, measure
from co2net_benchmarks.latency.single_stream import LatencyOptions
from co2net_benchmarks.runners.runner import Target
from co2net_benchmarks.runners.targets import parse_targets
from co2net_benchmarks.tables import Table, megabytes
from co2net_export.parity.report import ParityReport
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.records import from_mapping


@click.command(cls=console.Command)
@click.argument("artefacts", nargs=-1, required=True, metavar="ARTEFACT...")
@click.option("--lengths", type=LENGTHS, default="320,750,1500", show_default=True)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Timed runs per artefact and length.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engine.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the table as Markdown.",
)
@console.quiet_option
@console.version_option
def main(
    artefacts: tuple[str, ...],
    lengths: tuple[int, ...],
    samples: int,
    threads: int | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Compare one checkpoint's ARTEFACTs ([NAME=]FILE.onnx); speeds are relative to the first.

    Example: python benchmarks/studies/precision_table.py fp32=model.onnx int8=model.int8.onnx
    """
    targets = parse_targets(artefacts)
    contracts = [_contract(target) for target in targets]
    if len({contract.checkpoint_sha256 for contract in contracts}) > 1:
        raise InputError("these artefacts were not exported from one checkpoint file")
    plan = Plan(
        latency=LatencyOptions(lengths=lengths, samples=samples, cold=0),
        engine=EngineOptions(threads=threads),
        gemm=False,
    )
    timed = measure(targets, plan, quiet=quiet)
    table = make_table(dict(zip(targets, contracts, strict=True)), timed, lengths)
    click.echo(table.to_text())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")


def make_table(
    contracts: dict[Target, Contract], timed: LatencyResults, lengths: tuple[int, ...]
) -> Table:
    """Return one row per artefact; speeds are relative to the first."""
    reports = {target: _parity(contract, target) for target, contract in contracts.items()}
    rows = []
    for target, contract in contracts.items():
        rows.append(
            (
                target.name,
                contract.precision,
                megabytes(target.path.stat().st_size),
                *(_speed(timed, target, next(iter(contracts)), length) for length in lengths),
                *_accuracy_cells(reports[target]),
                "none" if contract.parity["gate"] is None else "met",
            )
        )
    machine = describe_machine()
    return Table(
        "Precisions",
        (
            "artefact",
            "precision",
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
            "speed: times faster than the first, the network alone, one video at a time, medians "
            f"of turns ({machine.cpu}, {machine.cpus} processors).",
            "The rest was measured at export. cas, attention: absolute difference from PyTorch on "
            "random features at several B and T; the largest |cas| is "
            f"{max(report.tensors.scale for report in reports.values()):.3g}.",
            *_decision_notes(list(reports.values())),
            "fp16 was proved with every float16 value rounded, as a GPU does, and is timed as this "
            "machine's engine runs it; int8-trt is made for TensorRT and slow on a CPU.",
        ),
    )


def _contract(target: Target) -> Contract:
    if target.path.suffix != ".onnx":
        raise InputError(f"{target.path}: give ONNX files that co2net-export wrote")
    contract = read_contract(target.path)
    if contract.graph != "whole":
        raise InputError(f"{target.path}: a {contract.graph} graph; give those for whole videos")
    if not contract.parity:
        raise InputError(f"{target.path}: its contract holds no parity figures: export it again")
    return contract


def _parity(contract: Contract, target: Target) -> ParityReport:
    names = [field.name for field in dataclasses.fields(ParityReport)]
    figures = {name: contract.parity.get(name) for name in names}
    return from_mapping(ParityReport, figures, f"{target.path}: parity")


def _accuracy_cells(report: ParityReport) -> tuple[str, ...]:
    tensors, decisions, accuracy = report.tensors, report.decisions, report.accuracy
    cells = [f"{one.max_abs:.1e} / {one.mean_abs:.1e}" for one in (tensors.cas, tensors.attention)]
    if decisions is None:
        cells += ["-", "-"]
    else:
        cells.append(f"{decisions.lost} / {decisions.added} / {decisions.moved}")
        cells.append(f"{decisions.changed:.2%}")
    if accuracy is None:
        cells += ["-", "-"]
    else:
        cells += [f"{accuracy.artefact:.2f}", f"{accuracy.difference:+.2f}"]
    return tuple(cells)


def _decision_notes(reports: list[ParityReport]) -> list[str]:
    """Say what the decisions were taken on; they may differ, since files are exported apart."""
    judged = {
        (found.segments, found.videos) for found in (one.decisions for one in reports) if found
    }
    if not judged:
        return ["Decisions were not compared: export with --data DATA."]
    counts = " or ".join(f"{segments} segments in {videos}" for segments, videos in sorted(judged))
    return [
        f"lost / added / moved: of {counts} held-out videos that score at least 0.1 of their "
        "video's best; moved by more than one snippet. mAP: average over tIoU 0.1:0.7, and its "
        "difference from PyTorch's, in points."
    ]


def _speed(timed: LatencyResults, target: Target, reference: Target, length: int) -> str:
    medians = {
        result.target: result.stages["network"].p50_s
        for result in timed.lengths
        if result.length == length
    }
    if target.name not in medians or reference.name not in medians:
        return "-"
    return f"{medians[reference.name] / medians[target.name]:.2f}"


if __name__ == "__main__":
    main()
