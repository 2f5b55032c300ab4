"""A shard of co2net-infer: collected in NAME.part, published whole when its last video is taken."""

from collections.abc import Iterable
from pathlib import Path

from co2net_runtime.output.formats import Format
from co2net_runtime.output.sinks import LinesSink, Sink
from co2net_runtime.shards.folder import write_shard


class ShardSink(Sink):
    """Takes the videos of one shard; --skip-existing goes on with the .part of a killed run."""

    def __init__(self, path: Path, lines: Format, videos: int, *, resume: bool) -> None:
        """Prepare to write `path`. lines: JSON lines; videos: how many the shard has."""
        self._path, self._form, self._videos = path, lines, videos
        self._lines = LinesSink(path.with_name(f"{path.name}.part"), lines, resume=resume)
        self._taken = 0
        self._failures: dict[str, str] = {}

    def existing(self, videos: Iterable[str]) -> set[str]:
        """Look for the videos that a killed run collected."""
        there = self._lines.existing(videos)
        self._taken = len(there)
        return there

    def add(self, video: str, records: list[dict[str, object]]) -> None:
        """Collect one video."""
        self._lines.add(video, records)
        self._taken += 1

    def fail(self, video: str, error: str) -> None:
        """Keep why a video has no results."""
        self._failures[video] = error

    def close(self) -> None:
        """Publish the shard if all its videos are taken; let others write here."""
        if self._taken + len(self._failures) == self._videos:
            write_shard(self._path, self._lines.collected(), self._failures)
            self._lines.path.unlink(missing_ok=True)
        self._lines.close()
