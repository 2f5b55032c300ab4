"""One goal, what was reached, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from co2net_benchmarks.tables import Table, significant
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio, percentile

Unit = Literal["times", "seconds", "bytes", "error", "share", "points"]
Verdict = Literal["met", "missed", "within noise", "stated"]

# by turn
Samples = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Goal:
    """One row: what was promised, what was reached, and both sides' absolute figures.

    point: the number of the promise. reached: the median with its 95 % interval. at_least,
    at_most: the target; neither where a figure is only stated. ours, theirs: the two sides in
    `sides`, None where there is no other side.
    """

    point: int
    what: str
    reached: Interval
    unit: Unit
    at_least: float | None = None
    at_most: float | None = None
    ours: float | None = None
    theirs: float | None = None
    sides: Unit = "seconds"

    @property
    def verdict(self) -> Verdict:
        """Whether the median meets the target, or at least some value of its interval does."""
        if self.at_least is not None:
            best, median, target = self.reached.high, self.reached.median, self.at_least
        elif self.at_most is not None:
            best, median, target = -self.reached.low, -self.reached.median, -self.at_most
        else:
            return "stated"
        if median >= target:
            return "met"
        return "within noise" if best >= target else "missed"

    @property
    def row(self) -> tuple[str, ...]:
        """The table's cells."""
        target = "-"
        if self.at_least is not None:
            target = f">= {shown(self.at_least, self.unit)}"
        elif self.at_most is not None:
            target = f"<= {shown(self.at_most, self.unit)}"
        low, high = shown(self.reached.low, self.unit), shown(self.reached.high, self.unit)
        return (
            f"{self.point} {self.what}",
            target,
            shown(self.reached.median, self.unit),
            "-" if low == high else f"{low} to {high}",
            shown(self.ours, self.sides),
            shown(self.theirs, self.sides),
            self.verdict,
        )


def faster(
    point: int, what: str, ours: Samples, theirs: Samples, at_least: float | None = None
) -> Goal:
    """Return the goal of being so many times faster; both in seconds, by turn."""
    return Goal(
        point,
        what,
        paired_ratio(theirs, ours),
        "times",
        at_least=at_least,
        ours=_median(ours),
        theirs=_median(theirs),
    )


def within(
    point: int, what: str, ours: Samples, theirs: Samples, at_most: float, sides: Unit = "seconds"
) -> Goal:
    """Return the goal of taking at most so many times what they take; both in `sides`, by turn."""
    return Goal(
        point,
        what,
        paired_ratio(ours, theirs),
        "times",
        at_most=at_most,
        ours=_median(ours),
        theirs=_median(theirs),
        sides=sides,
    )


def exactly(value: float) -> Interval:
    """Return the interval of a figure that has no spread."""
    return Interval(value, value, value)


def shown(value: float | None, unit: Unit) -> str:
    """Return a figure with its unit, three significant digits; '-' for None."""
    if value is None:
        return "-"
    if unit == "seconds":
        return f"{significant(value)} s" if value >= 1 else f"{significant(value * 1e3)} ms"
    if unit == "bytes":
        return f"{significant(value / 1e6)} MB"
    if unit == "error":
        return f"{value:.1e}"
    if unit == "share":
        return f"{value:.2%}"
    return f"{value:.2f}" if unit == "points" else f"{significant(value)}x"


def _median(turns: Samples) -> float:
    return median_interval([percentile(turn, 50) for turn in turns]).median


def goals_table(goals: Sequence[Goal], notes: Sequence[str]) -> Table:
    """Return all goals as one table, with how many were met below."""
    judged = [goal for goal in goals if goal.verdict != "stated"]
    met = sum(goal.verdict == "met" for goal in judged)
    noise = sum(goal.verdict == "within noise" for goal in judged)
    summary = (
        f"{met} of {len(judged)} met, {noise} within noise (the median misses the target, the "
        f"95 % interval reaches it), {len(judged) - met - noise} missed."
    )
    return Table(
        "Goals and what was reached",
        ("goal", "target", "reached", "95 %", "ours", "against", ""),
        tuple(goal.row for goal in goals),
        (summary, *notes),
    )
