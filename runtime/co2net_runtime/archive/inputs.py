"""The feature files of an archive, here or in an object store, by their relative paths."""

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.feature_files import files_below
from co2net_runtime.features import SUFFIXES, FeatureFile


def find_archive(arguments: Iterable[str], suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, str]:
    """Return the path or address of each video by its name.

    A name is the path below the folder that was given, without the suffix: equal stems in two of
    its folders stay apart. Of a file that was given itself it is the stem.

    Args:
        arguments: Files, and folders of them; addresses (s3://, gs://, ...) as fsspec takes them.
        suffixes: Of the files that are taken from folders.

    Raises:
        InputError: An argument names nothing, or two files have one name.
        MissingDependencyError: fsspec is missing, and an argument is an address.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        pairs = (
            _addresses(argument, suffixes)
            if "://" in argument
            else _paths(Path(argument), suffixes)
        )
        for name, place in pairs.items():
            if found.setdefault(name, place) != place:
                raise InputError(
                    f"{place}: its video has the same name as {found[name]}: give the folder "
                    "above both, so that their folders become part of the names"
                )
    return found


def fetch(name: str, place: str, folder: Path) -> FeatureFile:
    """Return a video's file; one at an address is copied into `folder` first.

    Raises InputError if it cannot be read.
    """
    if "://" not in place:
        return FeatureFile(name, Path(place))
    local = folder / f"{len(list(folder.iterdir()))}{PurePosixPath(place).suffix}"
    system, path = _system(place)
    try:
        system.get_file(path, str(local))
    except Exception as error:  # whatever the store's own library raises
        raise InputError(f"{place}: cannot be read: {error}") from error
    return FeatureFile(name, local)


def _paths(path: Path, suffixes: tuple[str, ...]) -> Mapping[str, str]:
    if path.is_dir():
        return {
            file.relative_to(path).with_suffix("").as_posix(): str(file)
            for file in files_below(path, suffixes)
        }
    return {path.stem: str(path)}


def _addresses(address: str, suffixes: tuple[str, ...]) -> Mapping[str, str]:
    system, root = _system(address)
    try:
        if not system.isdir(root):
            return {PurePosixPath(root).stem: address}
        files = [
            path for path in system.find(root) if PurePosixPath(path).suffix.lower() in suffixes
        ]
    except Exception as error:  # as above
        raise InputError(f"{address}: cannot be listed: {error}") from error
    if not files:
        raise InputError(f"{address}: no {' or '.join(suffixes)} file in this folder")
    return {
        posixpath.splitext(posixpath.relpath(path, root))[0]: system.unstrip_protocol(path)
        for path in sorted(files)
    }


def _system(address: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError("fsspec", "ray", address) from error
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: {error}") from error
    return system, path
