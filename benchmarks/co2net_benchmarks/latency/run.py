"""One latency run: opens the targets, takes them through the scenarios, keeps all results."""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from co2net.data.video import evenly
from co2net_benchmarks.hardware.energy import open_meter
from co2net_benchmarks.inputs import FeatureSource
from co2net_benchmarks.latency.offline import OfflineResult, measure_offline
from co2net_benchmarks.latency.server import ServerOptions, ServerResult, measure_server
from co2net_benchmarks.latency.single_stream import (
    ColdStart,
    LatencyOptions,
    LengthResult,
    measure_cold_starts,
    measure_lengths,
)
from co2net_benchmarks.length_mix import LENGTH_MIXES
from co2net_benchmarks.runners.pool import Fleet, TargetInfo
from co2net_benchmarks.runners.process import Child
from co2net_benchmarks.runners.targets import Target
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError

Scenario = Literal["single-stream", "offline", "server"]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    mix: name of the length mix of the offline scenario (and of the server's queries, if it is
    given; else they have the lengths of `latency`). mix_videos: take so many videos of it, spread
    evenly. features: a file or folder to cut the videos from, None for planted ones. gemm:
    whether to measure the machine's matrix multiplication first.
    """

    scenarios: tuple[Scenario, ...] = ("single-stream",)
    latency: LatencyOptions = field(default_factory=LatencyOptions)
    mix: str | None = None
    mix_videos: int | None = None
    server: ServerOptions = field(default_factory=ServerOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    features: str | None = None
    seed: int = 0
    gemm: bool = True

    @property
    def mix_lengths(self) -> tuple[int, ...]:
        """Lengths of the mix's videos, in snippets. Raises InputError for an unknown mix."""
        name = self.mix or "thumos14"
        if name not in LENGTH_MIXES:
            raise InputError(f"unknown mix {name!r} (known: {', '.join(LENGTH_MIXES)})")
        return tuple(evenly(LENGTH_MIXES[name], self.mix_videos))


@dataclass(frozen=True)
class LatencyResults:
    """What a latency run measured; the first measured target is the reference of all ratios.

    snippet_s: seconds of video per snippet. gemm_flops: this machine's float32 matrix
    multiplication, FLOP/s by library (gemm.py). lengths, cold_starts: single-stream scenario.
    energy_meter: what the energy figures count, None without a meter.
    """

    targets: tuple[TargetInfo, ...]
    snippet_s: float
    gemm_flops: dict[str, float]
    lengths: tuple[LengthResult, ...] = ()
    cold_starts: tuple[ColdStart, ...] = ()
    offline: tuple[OfflineResult, ...] = ()
    server: tuple[ServerResult, ...] = ()
    energy_meter: str | None = None

    @property
    def gemm_peak(self) -> float | None:
        """FLOP/s of the fastest library, None where it was not measured."""
        return max(self.gemm_flops.values(), default=None)


def measure(targets: list[Target], plan: Plan, *, quiet: bool = False) -> LatencyResults:
    """Carry the plan out. A target that cannot be measured is in the results with its reason.

    Raises InputError if no target can be measured, they take features of different widths, or the
    features cannot be used.
    """
    gemm_flops = _gemm(plan, quiet=quiet) if plan.gemm else {}
    console.note(f"opening {len(targets)} targets", quiet=quiet)
    with (
        tempfile.TemporaryDirectory(prefix="co2net-bench-") as name,
        Fleet(targets, plan.engine, Path(name)) as fleet,
    ):
        run = _Run(fleet, plan, Path(name), quiet=quiet)
        lengths = run.lengths() if "single-stream" in plan.scenarios else []
        cold = run.cold_starts() if "single-stream" in plan.scenarios else []
        offline, meter = run.offline() if "offline" in plan.scenarios else ([], None)
        server = run.server() if "server" in plan.scenarios else []
        # the machine at its best: a moment that was disturbed must not make all others look good
        if plan.gemm:
            again = _gemm(plan, quiet=quiet)
            gemm_flops = {name: max(peak, again[name]) for name, peak in gemm_flops.items()}
        return LatencyResults(
            targets=fleet.infos(),
            snippet_s=run.snippet_s,
            gemm_flops=gemm_flops,
            lengths=tuple(lengths),
            cold_starts=tuple(cold),
            offline=tuple(offline),
            server=tuple(server),
            energy_meter=meter,
        )


def _gemm(plan: Plan, *, quiet: bool) -> dict[str, float]:
    console.note("measuring matrix multiplication", quiet=quiet)
    with Child(plan.engine.threads) as child:
        return child.ask("gemm", threads=plan.engine.threads)


class _Run:
    """The scenarios on an open fleet; feature files are written when they are first needed."""

    def __init__(self, fleet: Fleet, plan: Plan, folder: Path, *, quiet: bool) -> None:
        self._fleet, self._plan, self._quiet = fleet, plan, quiet
        self._folder = folder
        self._source = FeatureSource(fleet.feature_dim, plan.features, seed=plan.seed)
        self._files: dict[tuple[int, ...], list[Path]] = {}
        self.snippet_s = float(fleet.members[0].contract.timing.to_seconds(1))

    def lengths(self) -> list[LengthResult]:
        options = self._plan.latency
        work = sum(options.lengths) * options.samples
        with console.progress(range(work), "single-stream", quiet=self._quiet) as bar:
            paths = self._paths(options.lengths)
            return measure_lengths(self._fleet, paths, options, bar.update)

    def cold_starts(self) -> list[ColdStart]:
        options = self._plan.latency
        starts = options.cold * len(self._fleet.members)
        with console.progress(range(starts), "cold starts", quiet=self._quiet) as bar:
            path, length = self._paths(options.lengths)[0], options.lengths[0]
            return measure_cold_starts(self._fleet, path, length, options, bar.update)

    def offline(self) -> tuple[list[OfflineResult], str | None]:
        lengths = self._plan.mix_lengths
        paths = self._paths(lengths)
        work = sum(lengths) * len(self._fleet.members)
        with (
            open_meter() as meter,
            console.progress(range(work), "offline", quiet=self._quiet) as bar,
        ):
            results = measure_offline(
                self._fleet, paths, lengths, self.snippet_s, meter, bar.update
            )
            return results, meter.name if meter else None

    def server(self) -> list[ServerResult]:
        plan = self._plan
        paths = self._paths(plan.mix_lengths if plan.mix else plan.latency.lengths)
        count = len(self._fleet.members)
        with console.progress(range(count), "server", quiet=self._quiet) as bar:
            return measure_server(self._fleet, paths, plan.server, bar.update)

    def _paths(self, lengths: tuple[int, ...]) -> list[Path]:
        if lengths not in self._files:
            need = sum(lengths) * self._fleet.feature_dim * 4
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
