"""Single-stream latency: one video at a time, all targets in turns; and cold starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from co2net_benchmarks.latency.output_differences import measure_differences
from co2net_benchmarks.runners.pool import Fleet, Member
from co2net_benchmarks.timing import (
    Interval,
    Summary,
    median_interval,
    paired_ratio,
    percentile,
    summarise,
)

Advance = Callable[[int], None]

# below six turns, their medians have no 95 % interval
_MIN_TURNS = 8


@dataclass(frozen=True)
class LatencyOptions:
    """How to measure.

    lengths: of the videos, in snippets. samples: timed runs per target and length. turn_s: what a
    turn should last, seconds. warmup: untimed runs per target and length before the first turn.
    length_limit_s: no new round is begun at a length after its rounds took so many seconds. cold:
    fresh processes per target.
    """

    lengths: tuple[int, ...] = (50, 250, 750, 2000)
    samples: int = 64
    turn_s: float = 0.25
    warmup: int = 3
    length_limit_s: float = 120.0
    cold: int = 5

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ValueError("no lengths to measure")
        for name in ("samples", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class LengthResult:
    """One target at one length.

    stages: seconds of read (open the file, check every value), network (host memory to host
    memory), decode, total; and device (the network by the device's own clock) where it has one.
    p50_s: median of the turns' medians of the total, with its interval. ratio: total over the
    reference's, turn by turn. segments: found in the video. peak_rss_bytes: of the process, up to
    this length. busy_after_s: for how long the engine kept the processor busy after a turn,
    median. turns_s: every total, by turn. difference: largest absolute difference of cas or
    attention from the reference's on this video, in units of max(1, max |cas|); None where an
    output is not finite, and in run files that do not tell.
    """

    target: str
    length: int
    stages: dict[str, Summary]
    p50_s: Interval
    ratio: Interval
    segments: int
    peak_rss_bytes: int | None
    busy_after_s: float
    turns_s: tuple[tuple[float, ...], ...]
    difference: float | None = None

    def flops(self, macs_per_snippet: int | None) -> float | None:
        """Return the network's nominal FLOP/s at its median, None without its arithmetic."""
        if macs_per_snippet is None:
            return None
        return 2 * macs_per_snippet * self.length / self.stages["network"].p50_s


@dataclass(frozen=True)
class ColdStart:
    """Fresh processes from start to first result; seconds, medians but for the total.

    process_s: until the interpreter runs. import_s: engine and runtime. load_s: opening the
    model. first_s: the first video. total_s: all of it, as the parent saw it. The files lie in
    the system's cache.
    """

    target: str
    length: int
    process_s: float
    import_s: float
    load_s: float
    first_s: float
    total_s: Summary
    peak_rss_bytes: int | None


class _Turns:
    """What one member's turns at one length gave. peak_rss_bytes: after the warm-up there."""

    def __init__(self, peak_rss_bytes: int | None) -> None:
        self.stages: dict[str, list[float]] = {}
        self.totals: list[tuple[float, ...]] = []
        self.busy_s: list[float] = []
        self.segments = 0
        self.peak_rss_bytes = peak_rss_bytes

    def add(self, answer: dict[str, Any], busy_s: float) -> None:
        for stage, seconds in answer["samples"].items():
            self.stages.setdefault(stage, []).extend(seconds)
        self.totals.append(tuple(answer["samples"]["total"]))
        self.busy_s.append(busy_s)
        self.segments = answer["segments"]


class _Length:
    """All members' turns at one length."""

    def __init__(self, fleet: Fleet, length: int, path: Path, options: LatencyOptions) -> None:
        """Warm up: every member runs the video a few times."""
        self._fleet, self.length, self._path, self._options = fleet, length, path, options
        self._differences = measure_differences(fleet, path)
        self._turns: dict[str, _Turns] = {}
        estimates = []
        for member, answer, _ in fleet.take_turns(_runs(path, 1, options.warmup)):
            self._turns[member.name] = _Turns(answer["peak_rss_bytes"])
            estimates.append(answer["samples"]["total"][0])
        count = round(options.turn_s / percentile(estimates, 50)) if estimates else 1
        self._count = max(1, min(count, options.samples // _MIN_TURNS))
        self._done, self._spent_s = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the samples that is done, or of the time that is spent, whichever is more."""
        limit_s = self._options.length_limit_s
        spent = self._spent_s / limit_s if limit_s else float(self._done > 0)
        return max(self._done / self._options.samples, spent)

    @property
    def missing(self) -> int:
        """How many of the samples wanted there was no time for."""
        return max(0, self._options.samples - self._done)

    def take_turns(self) -> int:
        """Let every member take a turn; return how many samples of those wanted it gave."""
        begun, before = perf_counter(), self._done
        for member, answer, busy_s in self._fleet.take_turns(
            _runs(self._path, self._count, int(self._count > 1))
        ):
            self._turns[member.name].add(answer, busy_s)
        self._done += self._count
        self._spent_s += perf_counter() - begun
        return min(self._done, self._options.samples) - before

    def results(self) -> list[LengthResult]:
        """Return one result for each member that has not failed."""
        measured = {member.name: self._turns[member.name] for member in self._fleet.members}
        reference = next(iter(measured.values()), None)
        return [
            LengthResult(
                target=name,
                length=self.length,
                stages={stage: summarise(samples) for stage, samples in turns.stages.items()},
                p50_s=median_interval([percentile(turn, 50) for turn in turns.totals]),
                ratio=paired_ratio(turns.totals, reference.totals),
                segments=turns.segments,
                peak_rss_bytes=turns.peak_rss_bytes,
                busy_after_s=percentile(turns.busy_s, 50),
                turns_s=tuple(turns.totals),
                difference=self._differences[name],
            )
            for name, turns in measured.items()
            if reference is not None
        ]


def measure_lengths(
    fleet: Fleet, paths: Sequence[Path], options: LatencyOptions, advance: Advance
) -> list[LengthResult]:
    """Measure all members on one feature file per length of `options.lengths`.

    Every member warms up at every length; then rounds of turns follow. The rounds of all lengths
    are spread over the whole measurement, so that a machine that is slower for a minute shows in
    the intervals of all lengths instead of shifting the median of one. All members make the same
    number of runs in a turn, so many that the median member's turn lasts about `turn_s`; a turn
    of several runs begins with an untimed one, since the others have had the caches meanwhile (a
    single long run hides that cost by itself). A member that fails is in no result. advance: told
    of progress, in snippets times samples; their sum is that of lengths times `samples`.
    """
    waiting = [
        _Length(fleet, length, path, options)
        for length, path in zip(options.lengths, paths, strict=True)
    ]
    measured = list(waiting)
    while waiting and fleet.members:
        least = min(waiting, key=lambda one: one.progress)
        advance(least.length * least.take_turns())
        if least.progress >= 1:
            advance(least.length * least.missing)
            waiting.remove(least)
    return [result for one in measured for result in one.results()]


def _runs(path: Path, count: int, discard: int) -> Callable[[Member], dict[str, Any]]:
    def act(member: Member) -> dict[str, Any]:
        return member.child.ask("run", path=str(path), count=count, discard=discard)

    return act


def measure_cold_starts(
    fleet: Fleet, path: Path, length: int, options: LatencyOptions, advance: Advance
) -> list[ColdStart]:
    """Start every member's target in fresh processes, in turns, and run one video in each.

    path: its feature file, of `length` snippets. advance: told after each start.
    """
    starts: dict[str, list[dict[str, float]]] = {}
    peaks: dict[str, int | None] = {}
    for _ in range(options.cold):
        for member, (times, peak), _ in fleet.take_turns(lambda one: _cold_start(fleet, one, path)):
            starts.setdefault(member.name, []).append(times)
            peaks[member.name] = peak
            advance(1)
    results = []
    for name, times in starts.items():
        medians = {
            part: percentile([one[part] for one in times], 50)
            for part in ("process_s", "import_s", "load_s", "first_s")
        }
        total = summarise([one["total_s"] for one in times])
        results.append(
            ColdStart(name, length, **medians, total_s=total, peak_rss_bytes=peaks[name])
        )
    return results


def _cold_start(fleet: Fleet, member: Member, path: Path) -> tuple[dict[str, float], int | None]:
    with fleet.fresh_child() as child:
        opened = fleet.open_in(child, member)
        answer = child.ask("run", path=str(path), count=1)
        total_s = perf_counter() - child.started
    first_s = answer["samples"]["total"][0]
    times = {**opened, "process_s": child.process_s, "first_s": first_s, "total_s": total_s}
    return times, answer["peak_rss_bytes"]
