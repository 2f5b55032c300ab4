"""Offline scenario: how fast a whole archive is worked through, over a mix of lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from co2net_benchmarks.latency.single_stream import Advance
from co2net_benchmarks.runners.pool import RunnerPool
from co2net_benchmarks.runners.process import RunnerProcess
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio

TURNS = 8


@dataclass(frozen=True)
class OfflineResult:
    """One target over all videos of the mix."""

    target: str
    videos: int
    snippets: int
    wall_s: float  # of all turns together
    snippets_per_s: Interval  # median of the turns
    realtime: float  # seconds of video per second of wall_s (hours of video per hour)
    ratio: Interval  # time over the reference's, turn by turn
    segments: int  # found in all videos
    peak_rss_bytes: int | None


def measure_offline(
    pool: RunnerPool,
    paths: Sequence[Path],
    lengths: Sequence[int],
    snippet_s: float,
    advance: Advance,
) -> list[OfflineResult]:
    """Work through all videos with every process, in turns of an eighth of them each.

    Every turn takes every eighth video, so that all turns hold long and short ones. A process that
    failed has no result.

    Args:
        pool: The open targets.
        paths: Feature files in the mix's order.
        lengths: Their snippets.
        snippet_s: Seconds of video per snippet.
        advance: Called with the progress, in snippets times processes.
    """
    warm = [str(path) for path in paths[:3]]
    for _ in pool.take_turns(lambda process: process.ask("run_all", paths=warm)):
        pass
    turns: dict[str, list[float]] = {}
    segments: dict[str, int] = {}
    peaks: dict[str, int | None] = {}
    counts = []
    for turn in range(min(TURNS, len(paths))):
        chosen = [str(path) for path in paths[turn::TURNS]]
        counts.append(sum(lengths[turn::TURNS]))

        def act(process: RunnerProcess, files: list[str] = chosen) -> dict[str, object]:
            return process.ask("run_all", paths=files)

        for process, answer, _ in pool.take_turns(act):
            name = process.name
            turns.setdefault(name, []).append(answer["wall_s"])
            segments[name] = segments.get(name, 0) + answer["segments"]
            peaks[name] = answer["peak_rss_bytes"]
            advance(counts[-1])
    measured = {process.name: turns[process.name] for process in pool.processes}
    snippets = sum(counts)
    video_s = snippets * snippet_s
    reference = next(iter(measured.values()), [])
    return [
        OfflineResult(
            target=name,
            videos=len(paths),
            snippets=snippets,
            wall_s=sum(walls),
            snippets_per_s=median_interval(
                [count / wall for count, wall in zip(counts, walls, strict=True)]
            ),
            realtime=video_s / sum(walls),
            ratio=paired_ratio([[wall] for wall in walls], [[wall] for wall in reference]),
            segments=segments[name],
            peak_rss_bytes=peaks[name],
        )
        for name, walls in measured.items()
    ]
