"""Parity results as tables."""

from co2net_benchmarks.parity.results import (
    ArtefactParity,
    ParityResults,
    TensorStep,
    first_diverging,
)
from co2net_benchmarks.tables import Table, megabytes
from co2net_export.parity.report import Difference

_NAMED_STEPS = 12


def parity_tables(results: ParityResults) -> list[Table]:
    """Return all tables of a parity run, in reading order."""
    tables = [_verdict_table(results)]
    measured = [one for one in results.artefacts if one.status == "measured"]
    if measured:
        tables += [_tensor_table(measured), _decision_table(measured, results.judged_on)]
        tables.append(_margin_table(measured, results.judged_on))
    tables += [_bisection_table(one) for one in results.artefacts if one.bisection]
    return tables


def _verdict_table(results: ParityResults) -> Table:
    rows, notes = [], []
    for one in results.artefacts:
        verdict = "failed" if one.failures or one.status == "failed" else "passed"
        reason = one.reason or "; ".join(one.failures)
        bounds = "-" if one.gate is None else _bounds(one)
        rows.append((one.name, one.precision or "-", bounds, verdict, megabytes(one.model_bytes)))
        if reason:
            notes.append(reason if reason.startswith(one.name) else f"{one.name}: {reason}")
        if not one.same_checkpoint:
            notes.append(f"{one.name} was exported from another checkpoint file.")
    title = f"Parity with {results.checkpoint} in PyTorch"
    columns = ("artefact", "precision", "gate", "verdict", "MB")
    return Table(title, columns, tuple(rows), tuple(notes), left=4)


def _bounds(one: ArtefactParity) -> str:
    names = {
        "max_abs": "max",
        "mean_abs": "mean",
        "segments": "segments",
        "map_points": "mAP points",
    }
    judged = {"max_abs", "mean_abs"}
    judged |= {"segments"} if one.decisions_judged else set()
    judged |= {"map_points"} if one.accuracy else set()
    parts = [
        f"{names[name]} {bound:g}"
        for name, bound in vars(one.gate).items()
        if bound is not None and name in judged
    ]
    return ", ".join(parts) or "-"


def _tensor_table(artefacts: list[ArtefactParity]) -> Table:
    rows = tuple(
        (
            one.name,
            row.group,
            str(row.snippets),
            *_differences(row.cas, row.scale),
            *_differences(row.attention, row.scale),
        )
        for one in artefacts
        for row in one.tensors
    )
    measures = ("max", "mean", "p99.9", "relative")
    columns = [f"{output} {name}" for output in ("cas", "att.") for name in measures]
    return Table(
        "Tensors: absolute difference from PyTorch",
        ("artefact", "videos", "snippets", *columns),
        rows,
        left=2,
        explanations=("att.: attention; relative: the largest over max(1, max |cas|) of PyTorch.",),
    )


def _differences(found: Difference, scale: float) -> tuple[str, ...]:
    values = (found.max_abs, found.mean_abs, found.p999_abs, found.max_abs / scale)
    return tuple(f"{value:.1e}" for value in values)


def _decision_table(artefacts: list[ArtefactParity], judged_on: str) -> Table:
    rows = []
    for one in artefacts:
        found = one.decisions
        assert found is not None
        cells = [
            one.name,
            *(str(count) for count in (found.segments, found.lost, found.added, found.moved)),
            f"{found.changed * 100:.2f} %",
            f"{found.score_shift_mean:.1e}",
            f"{found.score_shift_max:.1e}",
        ]
        if one.accuracy is None:
            cells += ["-", "-", "-"]
        else:
            points = (one.accuracy.reference, one.accuracy.artefact)
            cells += [*(f"{value:.2f}" for value in points), f"{one.accuracy.difference:+.2f}"]
        rows.append(tuple(cells))
    return Table(
        f"Decisions on {judged_on}",
        (
            "artefact", "segments", "lost", "added", "moved", "changed", "score shift",
            "max shift", "mAP PyTorch", "mAP", "difference",
        ),
        tuple(rows),
        explanations=(
            "Segments of at least 0.1 of their video's best score, matched one to one per class "
            "at tIoU >= 0.5; moved: by more than one snippet; shifts in units of the best score; "
            "mAP: mean over tIoU .1:.1:.7, percent.",
        ),
    )  # fmt: skip


def _margin_table(artefacts: list[ArtefactParity], judged_on: str) -> Table:
    first = artefacts[0].margins
    assert first is not None
    rows = []
    for one in artefacts:
        found = one.margins
        assert found is not None
        rows.append(
            (
                one.name,
                _percent_fine(found.at_risk),
                str(found.crossed),
                f"{found.class_nearest:.1e}",
                str(found.class_crossed),
            )
        )
    spread = ", ".join(
        f"{_percent_fine(share)} below {edge:g}"
        for edge, share in zip(first.edges, first.within, strict=True)
        if share > 0
    )
    return Table(
        f"Margins to the thresholds on {judged_on}",
        ("artefact", "at risk", "crossed", "nearest class", "classes crossed"),
        tuple(rows),
        explanations=(
            f"Attention is compared {first.decisions} times with a threshold; of PyTorch's "
            f"distances to it, {spread or 'none is below 0.1'}. At risk: nearer than the "
            "artefact's largest difference in that video; crossed: fell on the other side.",
        ),
    )


def _percent_fine(share: float) -> str:
    """Return a small share as percent with two significant digits."""
    return f"{share * 100:.2g} %"


def _bisection_table(one: ArtefactParity) -> Table:
    first = first_diverging(one.bisection)
    steps = list(one.bisection)
    if first is None:
        chosen = sorted(steps, key=_ratio)[-_NAMED_STEPS:]
        shown = [step for step in steps if step in chosen]
        title = f"{one.name}: no tensor above the tolerance; the largest differences"
    else:
        at = steps.index(first)
        shown = steps[max(0, at - 3) : at + _NAMED_STEPS]
        title = f"{one.name}: {first.tensor} ({first.op}) is the first tensor to diverge"
    rows = tuple(
        (
            step.tensor,
            step.op,
            "not finite or of another shape" if step.max_abs is None else f"{step.max_abs:.1e}",
            f"{step.scale:.2g}",
            "-" if step.max_abs is None else f"{step.max_abs / step.scale:.1e}",
            "diverged" if step.diverged else "",
        )
        for step in shown
    )
    notes = [
        f"{len(shown)} of {len(steps)} tensors that both graphs compute, in the graph's order."
    ]
    if any("/" in step.tensor for step in steps):
        notes.append(
            "The file holds two branches of the network for short and long videos; both were run, "
            "and the tensors of one carry its name before the slash."
        )
    columns = ("tensor", "operator", "max", "scale", "relative", "")
    return Table(title, columns, rows, tuple(notes), left=2)


def _ratio(step: TensorStep) -> float:
    return float("inf") if step.max_abs is None else step.max_abs / step.scale
