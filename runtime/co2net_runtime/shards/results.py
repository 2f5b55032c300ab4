"""The results of a sharded job, read back: all of them, or none."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from co2net_runtime.detections import Detections, read_results
from co2net_runtime.errors import InputError
from co2net_runtime.output.formats import Records
from co2net_runtime.shards.folder import MANIFEST, read_manifest, shard_path


def read_predictions(
    path: str | os.PathLike[str], classes: Iterable[str] | None = None
) -> dict[str, Detections]:
    """Read a result file, or the folder of a sharded job: {video: detections}.

    Args:
        path: As `read_results` takes it, or a folder of shards.
        classes: As for `read_results`.

    Raises:
        InputError: What `read_results` raises; shards are missing or damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        return read_results(path, classes)
    results = dict(joined(folder))
    names = classes
    if names is None:
        names = sorted({record["label"] for found in results.values() for record in found})
    known = tuple(names)
    return {
        video: Detections.from_records(records, known, f"{folder}: {video}")
        for video, records in results.items()
    }


def joined(folder: Path) -> Iterator[tuple[str, Records]]:
    """Yield (video, records) of all shards; videos that failed are left out.

    Raises InputError if a shard is missing or damaged, or the folder is not of a job.
    """
    count = job_of(folder)["shards"]
    missing = [index for index in range(count) if not shard_path(folder, index).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {count} shards are missing, {missing[0]} the first: run "
            "the command that writes them again"
        )
    for index in range(count):
        path = shard_path(folder, index)
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = json.loads(line)
                    video, records = entry["video"], entry.get("results")
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise InputError(f"{path}: line {number} is damaged: {error}") from error
                if records is not None:
                    yield video, records


def job_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a job's folder. Raises InputError if there is none."""
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: no {MANIFEST} in it: expected a folder that co2net-archive or co2net-infer "
            "--shard wrote"
        )
    return read_manifest(folder / MANIFEST)
