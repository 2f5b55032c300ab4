"""The folder of a sharded job: a manifest that says which job, and shard files that appear whole.

FOLDER/manifest.json holds the identity of the job. FOLDER/shard-000003.jsonl holds a line for each
video of shard 3: those that failed first, {"error", "video"}, then {"video", "results"} by name.
"""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path, write_text
from co2net_runtime.files.text import read_json
from co2net_runtime.output.formats import Records

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1

_ERROR = b'{"error": '
# what reading a damaged line of a shard raises
DAMAGE = (OSError, ValueError, LookupError, TypeError, RecursionError)


def shard_path(folder: Path, index: int) -> Path:
    """Return the file of one shard."""
    return folder / f"shard-{index:06d}.jsonl"


def job_identity(
    made_by: Mapping[str, Any], batch: int, *, videos: int, names_sha256: str, shards: int
) -> dict[str, Any]:
    """Return the facts that two runs must share for their shards to be parts of one result.

    Args:
        made_by: The origin of the results: model, engine, options with the threads.
        batch: Videos run together.
        videos: The videos of all shards.
        names_sha256: The digest of their names.
        shards: The number of shards.
    """
    engine = {**made_by["engine"], "device": made_by["engine"]["device"].partition(":")[0]}
    origin = {key: value for key, value in made_by.items() if key != "model"}  # a path's name
    return {
        "schema_version": SCHEMA_VERSION,
        **origin,
        "engine": engine,  # on any of several GPUs alike
        "batch": batch,
        "shards": shards,
        "videos": videos,
        "names_sha256": names_sha256,
    }


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write the manifest, or check that the existing one is of the same job.

    Of several processes that begin at once, one writes it and the others check.

    Raises:
        InputError: The folder is another job's, or its manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        temporary = folder / f".{MANIFEST}.{secrets.token_hex(4)}"
        write_text(temporary, json.dumps(identity, indent=1) + "\n")
        try:
            os.link(temporary, path)  # unlike a rename it never replaces another's
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            temporary.replace(path)
        temporary.unlink(missing_ok=True)
    there = read_manifest(path)
    different = [key for key in {**identity, **there} if there.get(key) != identity.get(key)]
    if different:
        key = different[0]
        raise InputError(
            f"{folder}: the shards of another job: its {key} {_difference(there, identity, key)}: "
            "choose another --out"
        )


def write_shard(
    path: Path, results: Iterable[tuple[str, Records]], failures: Mapping[str, str]
) -> None:
    """Write a shard's file, which appears whole. Raises InputError if it cannot be written."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for video in sorted(failures):
            file.write(json.dumps({"error": failures[video], "video": video}) + "\n")
        for video, records in results:
            file.write(json.dumps({"video": video, "results": records}) + "\n")


def read_failures(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (video, error) of a shard's file; its results are not read.

    Raises InputError if it is damaged.
    """
    try:
        with path.open("rb") as lines:
            for line in lines:
                if not line.startswith(_ERROR):
                    return
                entry = json.loads(line)
                yield str(entry["video"]), str(entry["error"])
    except DAMAGE as error:
        raise InputError(
            f"{path}: damaged, expected a shard of co2net: remove it to have it computed again"
        ) from error


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the identity of a job. Raises InputError if the file is damaged."""
    found = read_json(path, "the manifest of a job")
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged, expected the manifest of a job")
    return found


def _difference(there: Mapping[str, Any], now: Mapping[str, Any], key: str) -> str:
    """Say how two manifests differ in `key`, down to the option."""
    one, other = there.get(key), now.get(key)
    if isinstance(one, dict) and isinstance(other, dict):
        name = next(name for name in {**one, **other} if one.get(name) != other.get(name))
        return f"{name} {_difference(one, other, name)}"
    return f"is {json.dumps(one)}, not {json.dumps(other)}"
