"""Offline scenario: how fast a whole archive is worked through, over a mix of lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from co2net_benchmarks.hardware.energy import Meter
from co2net_benchmarks.latency.single_stream import Advance
from co2net_benchmarks.runners.pool import Fleet, Member
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio

TURNS = 8


@dataclass(frozen=True)
class OfflineResult:
    """One target over all videos of the mix.

    wall_s: of all turns together. snippets_per_s: median of the turns, with its interval.
    realtime: seconds of video per second (video-hours per hour), from wall_s. ratio: time over
    the reference's, turn by turn. segments: found in all videos. joules_per_video_minute: energy
    of the machine during its turns, None without a meter.
    """

    target: str
    videos: int
    snippets: int
    wall_s: float
    snippets_per_s: Interval
    realtime: float
    ratio: Interval
    segments: int
    peak_rss_bytes: int | None
    joules_per_video_minute: float | None


def measure_offline(
    fleet: Fleet,
    paths: Sequence[Path],
    lengths: Sequence[int],
    snippet_s: float,
    meter: Meter | None,
    advance: Advance,
) -> list[OfflineResult]:
    """Work through all videos with every member, in turns of an eighth of them each.

    paths: feature files of `lengths`, in the mix's order; every turn takes each eighth video, so
    that all turns hold long and short ones. Targets of the runtime go through
    Localizer.stream_files, as users do: the next features are read while the network runs.
    advance: told of progress in snippets times members.
    """
    warm = [str(path) for path in paths[:3]]
    for _ in fleet.take_turns(lambda member: member.child.ask("run_all", paths=warm)):
        pass
    turns: dict[str, list[float]] = {}
    segments: dict[str, int] = {}
    peaks: dict[str, int | None] = {}
    joules: dict[str, float] = {}
    counts = []
    for turn in range(min(TURNS, len(paths))):
        chosen = [str(path) for path in paths[turn::TURNS]]
        counts.append(sum(lengths[turn::TURNS]))
        before = meter.joules() if meter else 0.0

        def act(member: Member, files: list[str] = chosen) -> dict[str, object]:
            return member.child.ask("run_all", paths=files)

        for member, answer, _ in fleet.take_turns(act):
            after = meter.joules() if meter else 0.0
            name = member.name
            turns.setdefault(name, []).append(answer["wall_s"])
            segments[name] = segments.get(name, 0) + answer["segments"]
            peaks[name] = answer["peak_rss_bytes"]
            joules[name] = joules.get(name, 0.0) + after - before
            before = after
            advance(counts[-1])
    measured = {member.name: turns[member.name] for member in fleet.members}
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
            joules_per_video_minute=joules[name] / (video_s / 60) if meter else None,
        )
        for name, walls in measured.items()
    ]
