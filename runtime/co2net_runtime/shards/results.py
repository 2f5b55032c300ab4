"""The results of a sharded job, read back: all of them, or none."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from co2net_runtime.detections import Detections, check_results, read_results
from co2net_runtime.errors import InputError
from co2net_runtime.output.formats import Records
from co2net_runtime.shards.folder import DAMAGE, MANIFEST, read_manifest, shard_path


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
    return check_results(dict(joined(folder)), classes, str(folder))


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
        yield from _read(shard_path(folder, index))


def _read(path: Path) -> Iterator[tuple[str, Records]]:
    number = 0
    try:
        with path.open("rb") as lines:  # text would fail between the lines that it names
            for line in lines:
                number += 1
                entry = json.loads(line)
                video, records = entry["video"], entry.get("results")
                if records is not None:
                    yield video, records
    except DAMAGE as error:
        raise InputError(f"{path}: line {number} is damaged: {error}") from error


def job_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a job's folder. Raises InputError if there is none, or damaged."""
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder}: no {MANIFEST} in it: expected a folder that co2net-archive or co2net-infer "
            "--shard wrote"
        )
    job = read_manifest(folder / MANIFEST)
    if not all(isinstance(job.get(key), int) for key in ("shards", "videos")):
        raise InputError(f"{folder / MANIFEST}: damaged, expected the manifest of a job")
    return job
