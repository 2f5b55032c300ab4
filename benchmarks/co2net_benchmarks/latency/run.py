"""One latency run: opens the targets, takes them through the scenarios, keeps all results."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from co2net.data.video import evenly
from co2net_benchmarks.inputs import LENGTH_MIXES, FeatureSource
from co2net_benchmarks.latency.offline import OfflineResult, measure_offline
from co2net_benchmarks.latency.single_stream import (
    ColdStart,
    LatencyOptions,
    LengthResult,
    measure_cold_starts,
    measure_lengths,
)
from co2net_benchmarks.runners.pool import RunnerPool
from co2net_benchmarks.runners.process import Child
from co2net_benchmarks.runners.runner import RunnerInfo, Target
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import number_of

Scenario = Literal["single-stream", "offline"]


@dataclass(frozen=True)
class Plan:
    """The scenarios of a run and their settings."""

    scenarios: tuple[Scenario, ...] = ("single-stream",)
    latency: LatencyOptions = field(default_factory=LatencyOptions)
    mix: str | None = None  # length mix of the offline scenario; None: thumos14
    mix_videos: int | None = None  # number of its videos, spread evenly; None: all
    engine: EngineOptions = field(default_factory=EngineOptions)
    features: str | None = None  # file or folder to cut the videos from; None: planted ones
    seed: int = 0  # of planted features
    gemm: bool = True  # measure the machine's matrix multiplication, too

    @property
    def mix_lengths(self) -> tuple[int, ...]:
        """Lengths of the mix's videos, in snippets. Raises InputError for an unknown mix."""
        name = self.mix or "thumos14"
        if name not in LENGTH_MIXES:
            raise InputError(f"unknown mix {name!r} (known: {', '.join(LENGTH_MIXES)})")
        return tuple(evenly(LENGTH_MIXES[name], self.mix_videos))


@dataclass(frozen=True)
class LatencyResults:
    """The results of a run; the first measured target is the reference of all ratios."""

    targets: tuple[RunnerInfo, ...]  # all that were asked for, measured or not
    snippet_s: float  # seconds of video per snippet
    gemm_flops: dict[str, float]  # float32 matrix multiplication, FLOP/s by library (gemm.py)
    lengths: tuple[LengthResult, ...] = ()  # single-stream, as are cold_starts
    cold_starts: tuple[ColdStart, ...] = ()
    offline: tuple[OfflineResult, ...] = ()

    def __post_init__(self) -> None:
        known = {info.name for info in self.targets}
        measured = [row.target for row in self.lengths]
        measured += [row.target for row in self.cold_starts]
        measured += [row.target for row in self.offline]
        for name in measured:
            if name not in known:
                raise ValueError(f"figures of {name!r}, which is none of its targets")

    @property
    def gemm_peak(self) -> float | None:
        """FLOP/s of the fastest library, None where it was not measured."""
        return max(self.gemm_flops.values(), default=None)


def measure(targets: list[Target], plan: Plan, *, quiet: bool = False) -> LatencyResults:
    """Carry out a latency run.

    Args:
        targets: One that cannot be measured is in the results with its reason.
        plan: The scenarios and their settings.
        quiet: Show no progress.

    Returns:
        All results.

    Raises:
        InputError: No target can be measured, they take features of different widths, or the
            features cannot be used.

    Example:
        results = measure(parse_targets(["model.onnx"]), Plan())
    """
    gemm_flops = _gemm(plan, quiet=quiet) if plan.gemm else {}
    console.note(f"opening {number_of(len(targets), 'target')}", quiet=quiet)
    with (
        tempfile.TemporaryDirectory(prefix="co2net-bench-") as name,
        RunnerPool(targets, plan.engine, Path(name)) as pool,
    ):
        run = _Run(pool, plan, Path(name), quiet=quiet)
        lengths = run.lengths() if "single-stream" in plan.scenarios else []
        cold = run.cold_starts() if "single-stream" in plan.scenarios else []
        offline = run.offline() if "offline" in plan.scenarios else []
        # the machine at its best: a moment that was disturbed must not make all others look good
        if plan.gemm:
            again = _gemm(plan, quiet=quiet)
            gemm_flops = {name: max(peak, again[name]) for name, peak in gemm_flops.items()}
        return LatencyResults(
            targets=pool.infos(),
            snippet_s=run.snippet_s,
            gemm_flops=gemm_flops,
            lengths=tuple(lengths),
            cold_starts=tuple(cold),
            offline=tuple(offline),
        )


def _gemm(plan: Plan, *, quiet: bool) -> dict[str, float]:
    console.note("measuring matrix multiplication", quiet=quiet)
    with Child(plan.engine.threads) as child:
        return child.ask("gemm", threads=plan.engine.threads)


class _Run:
    """The scenarios on an open pool; feature files are written when they are first needed."""

    def __init__(self, pool: RunnerPool, plan: Plan, folder: Path, *, quiet: bool) -> None:
        self._pool, self._plan, self._quiet = pool, plan, quiet
        self._folder = folder
        self._source = FeatureSource(pool.feature_dim, plan.features, seed=plan.seed)
        self._files: dict[tuple[int, ...], list[Path]] = {}
        self.snippet_s = pool.processes[0].info.snippet_s

    def lengths(self) -> list[LengthResult]:
        options = self._plan.latency
        work = sum(options.lengths) * options.samples
        with console.progress(range(work), "single-stream", quiet=self._quiet) as bar:
            paths = self._paths(options.lengths)
            return measure_lengths(self._pool, paths, options, bar.update)

    def cold_starts(self) -> list[ColdStart]:
        options = self._plan.latency
        starts = options.cold * len(self._pool.processes)
        with console.progress(range(starts), "cold starts", quiet=self._quiet) as bar:
            path, length = self._paths(options.lengths)[0], options.lengths[0]
            return measure_cold_starts(self._pool, path, length, options, bar.update)

    def offline(self) -> list[OfflineResult]:
        lengths = self._plan.mix_lengths
        paths = self._paths(lengths)
        work = sum(lengths) * len(self._pool.processes)
        with console.progress(range(work), "offline", quiet=self._quiet) as bar:
            return measure_offline(self._pool, paths, lengths, self.snippet_s, bar.update)

    def _paths(self, lengths: tuple[int, ...]) -> list[Path]:
        if lengths not in self._files:
            need = sum(lengths) * self._pool.feature_dim * 4
            free = shutil.disk_usage(self._folder).free
            if need > 0.9 * free:
                raise InputError(
                    f"the features of {len(lengths)} videos take {need / 1e6:.0f} MB, "
                    f"{self._folder.parent} has {free / 1e6:.0f} MB left: set TMPDIR to a roomier "
                    "folder or take fewer videos"
                )
            folder = self._folder / f"features{len(self._files)}"
            folder.mkdir()
            self._files[lengths] = self._source.write(folder, lengths)
        return self._files[lengths]
