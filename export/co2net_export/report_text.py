"""The report of co2net-export about the files that it wrote, on stderr."""

from pathlib import Path

from co2net_export.export import Artefact, Exporter
from co2net_export.graph.session import open_graph, open_session
from co2net_export.parity.speed import speedup
from co2net_export.precision.options import PrecisionOptions
from co2net_runtime.cli.console import note
from co2net_runtime.files.text import number_of


def print_report(artefact: Artefact, *, quiet: bool) -> None:
    """Say how large the file is and how far from the PyTorch model."""
    report, name = artefact.report, artefact.path.name
    note(
        f"{name}: {_size(artefact.path) / 1e6:.3g} MB; from PyTorch, cas max "
        f"{report.tensors.cas.max_abs:.1e} mean {report.tensors.cas.mean_abs:.1e}, attention max "
        f"{report.tensors.attention.max_abs:.1e} mean {report.tensors.attention.mean_abs:.1e}",
        quiet=quiet,
    )
    decisions = report.decisions
    if decisions is None:
        note("  decisions not compared: name a dataset with --data", quiet=quiet)
    else:
        note(
            f"  {number_of(decisions.segments, 'segment')} in "
            f"{number_of(decisions.videos, 'held-out video')}: "
            f"{decisions.lost} lost, {decisions.added} added, {decisions.moved} moved "
            f"({decisions.changed:.2%}); score shift mean {decisions.score_shift_mean:.1e} max "
            f"{decisions.score_shift_max:.1e} of the best; {decisions.crossed:.2%} of the snippets "
            "crossed a threshold",
            quiet=quiet,
        )
    if report.accuracy is not None:
        note(
            f"  mAP {report.accuracy.artefact:.2f}, PyTorch {report.accuracy.reference:.2f} "
            f"({report.accuracy.difference:+.2f})",
            quiet=quiet,
        )
    if artefact.bf16 is not None:
        changed = artefact.bf16.decisions
        segments = "" if changed is None else f"; {changed.changed:.2%} of the segments changed"
        note(
            f"  with --bf16: cas mean {artefact.bf16.tensors.cas.mean_abs:.1e}, attention mean "
            f"{artefact.bf16.tensors.attention.mean_abs:.1e}{segments}",
            quiet=quiet,
        )
    for failure in artefact.failures:
        note(f"warning: {name} would not pass the gate: {failure}", quiet=quiet)


def print_gain(exporter: Exporter, artefact: Artefact, options: PrecisionOptions) -> None:
    """Say how much smaller and faster the lower precision is, and what kept layers cost of that."""
    if options.precision == "fp32" and artefact.contract.optimize == "none":
        return
    session, size = open_session(artefact.path), _size(artefact.path)
    graph = exporter.graph()
    gain = speedup(open_graph(graph), session, artefact.contract)
    ratio = size / graph.ByteSize()
    text = f"{ratio:.2f} of fp32's size, {gain}"
    if ratio >= 1 and gain.told and gain.high <= 1:
        note(f"warning: neither smaller nor faster than fp32 on this machine: {text}")
    else:
        note(f"  {text}")
    if artefact.kept:
        strict = exporter.lowered(options)
        loss = speedup(open_graph(strict), session, artefact.contract)
        note(
            f"  kept in float to meet the gate: {', '.join(artefact.kept)}; without that, it would "
            f"have {strict.ByteSize() / size:.2f} of its size, and it has {loss}"
        )


def _size(path: Path) -> int:
    data = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)
