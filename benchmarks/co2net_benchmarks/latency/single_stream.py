"""Single-stream latency: one video at a time, all targets in turns; and cold starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from co2net_benchmarks.latency.output_differences import measure_differences
from co2net_benchmarks.runners.pool import RunnerPool
from co2net_benchmarks.runners.process import RunnerProcess
from co2net_benchmarks.timing import (
    Interval,
    Summary,
    median_interval,
    paired_ratio,
    percentile,
    summarize,
)

Advance = Callable[[int], None]

# below six turns, their medians have no 95 % interval
_MIN_TURNS = 8


@dataclass(frozen=True)
class LatencyOptions:
    """Settings of the single-stream scenario."""

    lengths: tuple[int, ...] = (50, 250, 750, 2000)  # of the videos, in snippets
    samples: int = 64  # timed runs per target and length
    turn_s: float = 0.25  # intended duration of a turn, seconds
    warmup: int = 3  # untimed runs per target and length before the first turn
    length_limit_s: float = 120.0  # a length whose rounds took longer begins no new round
    cold: int = 5  # fresh processes per target

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ValueError("no lengths to measure")
        for name in ("samples", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class LengthResult:
    """One target at one length; times in seconds."""

    target: str
    length: int  # snippets
    stages: dict[str, Summary]  # of `Runner.run`: read, network, decode, total, perhaps device
    p50_s: Interval  # median of the turns' medians of the total
    ratio: Interval  # total over the reference's, turn by turn
    segments: int  # found in the video
    peak_rss_bytes: int | None  # of the process, up to this length
    busy_after_s: float  # the engine keeps the processor busy after a turn, median
    turns_s: tuple[tuple[float, ...], ...]  # every total, by turn
    # largest absolute difference of cas or attention from the reference's on this video, in units
    # of max(1, max |cas|); None: an output is not finite, or the run file is an older one
    difference: float | None = None

    def __post_init__(self) -> None:
        for stage in ("read", "network", "decode", "total"):
            if stage not in self.stages:
                raise ValueError(f"{self.target}: its stages lack {stage!r}")

    def flops(self, macs_per_snippet: int | None) -> float | None:
        """Return the network's nominal FLOP/s at its median, None without its arithmetic."""
        if macs_per_snippet is None:
            return None
        return 2 * macs_per_snippet * self.length / self.stages["network"].p50_s


@dataclass(frozen=True)
class ColdStart:
    """Fresh processes from start to first result, files in the system's cache; seconds."""

    target: str
    length: int  # of the video, snippets
    process_s: float  # until the interpreter runs; this and the next three are medians
    import_s: float  # engine and runtime
    load_s: float  # opening the model
    first_s: float  # the first video
    total_s: Summary  # all of it, as the parent saw it
    peak_rss_bytes: int | None


@dataclass
class _Turns:
    """The samples of one process at one length."""

    peak_rss_bytes: int | None  # after the warm-up
    stages: dict[str, list[float]] = field(default_factory=dict)
    totals: list[tuple[float, ...]] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    segments: int = 0

    def add(self, answer: dict[str, Any], busy_s: float) -> None:
        for stage, seconds in answer["samples"].items():
            self.stages.setdefault(stage, []).extend(seconds)
        self.totals.append(tuple(answer["samples"]["total"]))
        self.busy_s.append(busy_s)
        self.segments = answer["segments"]


class _Length:
    """The turns of all processes at one length."""

    def __init__(self, pool: RunnerPool, length: int, path: Path, options: LatencyOptions) -> None:
        """Warm up: every process runs the video a few times."""
        self._pool, self.length, self._path, self._options = pool, length, path, options
        self._differences = measure_differences(pool, path)
        self._turns: dict[str, _Turns] = {}
        estimates = []
        for process, answer, _ in pool.take_turns(_runs(path, 1, options.warmup)):
            self._turns[process.name] = _Turns(answer["peak_rss_bytes"])
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
        """Number of wanted samples for which there was no time."""
        return max(0, self._options.samples - self._done)

    def take_turns(self) -> int:
        """Let every process take a turn; return the number of wanted samples that it gave."""
        begun, before = perf_counter(), self._done
        for process, answer, busy_s in self._pool.take_turns(
            _runs(self._path, self._count, int(self._count > 1))
        ):
            self._turns[process.name].add(answer, busy_s)
        self._done += self._count
        self._spent_s += perf_counter() - begun
        return min(self._done, self._options.samples) - before

    def results(self) -> list[LengthResult]:
        """Return one result for each process that has not failed."""
        measured = {process.name: self._turns[process.name] for process in self._pool.processes}
        return [
            LengthResult(
                target=name,
                length=self.length,
                stages={stage: summarize(samples) for stage, samples in turns.stages.items()},
                p50_s=median_interval([percentile(turn, 50) for turn in turns.totals]),
                ratio=paired_ratio(turns.totals, next(iter(measured.values())).totals),
                segments=turns.segments,
                peak_rss_bytes=turns.peak_rss_bytes,
                busy_after_s=percentile(turns.busy_s, 50),
                turns_s=tuple(turns.totals),
                difference=self._differences[name],
            )
            for name, turns in measured.items()
        ]


def measure_lengths(
    pool: RunnerPool, paths: Sequence[Path], options: LatencyOptions, advance: Advance
) -> list[LengthResult]:
    """Measure all processes on one feature file per length of `options.lengths`.

    Every process warms up at every length; then rounds of turns follow. The rounds of all lengths
    are spread over the whole measurement, so that a machine that is slower for a minute shows in
    the intervals of all lengths instead of shifting the median of one. All processes make the same
    number of runs in a turn, chosen so that the median process's turn lasts about `turn_s`; a turn
    of several runs begins with an untimed one, since the others have used the caches meanwhile (a
    single long run hides that cost by itself).

    advance: called with the progress, in snippets times samples. A process that failed has no
    results.
    """
    waiting = [
        _Length(pool, length, path, options)
        for length, path in zip(options.lengths, paths, strict=True)
    ]
    measured = list(waiting)
    while waiting and pool.processes:
        least = min(waiting, key=lambda one: one.progress)
        advance(least.length * least.take_turns())
        if least.progress >= 1:
            advance(least.length * least.missing)
            waiting.remove(least)
    return [result for one in measured for result in one.results()]


def _runs(path: Path, count: int, discard: int) -> Callable[[RunnerProcess], dict[str, Any]]:
    def act(process: RunnerProcess) -> dict[str, Any]:
        return process.ask("run", path=str(path), count=count, discard=discard)

    return act


def measure_cold_starts(
    pool: RunnerPool, path: Path, length: int, options: LatencyOptions, advance: Advance
) -> list[ColdStart]:
    """Start every target in `options.cold` fresh processes, in turns, and run one video in each.

    length: snippets of the video. advance: called after each start.
    """
    starts: dict[str, list[dict[str, float]]] = {}
    peaks: dict[str, int | None] = {}
    for _ in range(options.cold):
        for process, (times, peak), _ in pool.take_turns(lambda one: _cold_start(one, path)):
            starts.setdefault(process.name, []).append(times)
            peaks[process.name] = peak
            advance(1)
    results = []
    for name, times in starts.items():
        total = summarize([one.pop("total_s") for one in times])
        medians = {part: percentile([one[part] for one in times], 50) for part in times[0]}
        results.append(
            ColdStart(name, length, **medians, total_s=total, peak_rss_bytes=peaks[name])
        )
    return results


def _cold_start(process: RunnerProcess, path: Path) -> tuple[dict[str, float], int | None]:
    with process.again() as fresh:
        answer = fresh.ask("run", path=str(path), count=1)
        total_s = perf_counter() - fresh.started
    times = {
        "process_s": fresh.process_s,
        "import_s": fresh.import_s,
        "load_s": fresh.load_s,
        "first_s": answer["samples"]["total"][0],
        "total_s": total_s,
    }
    return times, answer["peak_rss_bytes"]
