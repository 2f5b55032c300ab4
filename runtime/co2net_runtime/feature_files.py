"""The feature files that arguments and folders name, and which of them make a video."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError
from co2net_runtime.features import STDIN, STREAMS, SUFFIXES, FeatureFile

# of Linux
_LONGEST_PATH = 4096


def find_feature_files(
    arguments: Iterable[str | os.PathLike[str]],
    flow: str | os.PathLike[str] | None = None,
    *,
    key: str | None = None,
) -> list[FeatureFile]:
    """Find the feature files that files, folders and glob patterns name.

    Args:
        arguments: Files, patterns, and folders, searched at any depth as `pair_streams` says. "-"
            is one .npy on stdin, named stdin.
        flow: A folder that holds the flow features of each video under the same file name, or
            under NAME_flow where the RGB file is NAME_rgb.
        key: The array to take from .npz files.

    Returns:
        One for each video, in the given order; a video's name is the file's stem.

    Raises:
        InputError: An argument names nothing, or two files have the same stem.
    """
    flows = {} if flow is None else {_name(path, "flow"): path for path in files_below(Path(flow))}
    found: dict[str, FeatureFile] = {}
    for argument in arguments:
        for file in _expand(Path(argument), paired=flow is None):
            video, path = file.video, file.path
            if flow is not None:
                video = _name(path, "rgb")
                file = FeatureFile(video, path, flows.get(video, Path(flow) / path.name))
            earlier = found.get(video)
            if earlier is not None and earlier.path.resolve() != path.resolve():
                raise InputError(
                    f"{path}: its video has the same name as {earlier.path}: results are kept by "
                    "name, so run them apart"
                )
            found[video] = FeatureFile(video, path, file.flow_path, key)
    return list(found.values())


def expand_lists(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments, each "@FILE" replaced by that file's lines; empty ones are skipped.

    Raises InputError if a list cannot be read or is empty.
    """
    for argument in arguments:
        if not argument.startswith("@"):
            yield argument
            continue
        path = argument[1:]
        try:
            text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        names = [line for line in text.splitlines() if line.strip()]
        if not names:
            raise InputError(f"{path}: an empty list of inputs")
        yield from names


def is_pattern(path: Path) -> bool:
    """Whether an argument is to be searched for as a pattern; a file of that name comes first."""
    text = str(path)
    # what is longer than any path takes minutes to be read as a pattern
    return (
        len(text) <= _LONGEST_PATH
        and any(sign in text for sign in "*?[")
        and not os.path.exists(path)  # noqa: PTH110  # unlike Path's, false for impossible names
    )


def files_below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return the files of a folder with these suffixes, at any depth, sorted; not hidden ones.

    macOS leaves a hidden ._NAME.npy beside each NAME.npy that it zips.

    Raises InputError if there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    try:
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in suffixes
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be searched: {error.strerror}") from error
    if not files:
        raise InputError(f"{folder}: no {' or '.join(suffixes)} file in this folder")
    return files


def pair_streams(folder: Path) -> list[FeatureFile]:
    """Return the videos of a folder that is searched at any depth, sorted by file.

    The streams of a video are kept apart in folders called rgb and flow, or in NAME_rgb.npy and
    NAME_flow.npy. Every other file holds both.

    Raises InputError if there are no files, two videos have one name, or a folder rgb has no folder
    flow beside it.
    """
    streams: dict[str, dict[str, Path]] = {"rgb": {}, "flow": {}}
    videos: dict[str, FeatureFile] = {}
    files = files_below(folder)
    names = {(path.parent, path.stem.casefold()) for path in files}
    for path in files:
        parts = [part.casefold() for part in path.relative_to(folder).parts[:-1]]
        ending = path.stem.casefold().rpartition("_")[2]
        other = {"rgb": "flow", "flow": "rgb"}.get(ending)
        stream = next((stream for stream in STREAMS if stream in parts), None)
        if stream is None and other is not None:
            partner = path.stem.casefold().removesuffix(ending) + other
            stream = ending if (path.parent, partner) in names else None
        if stream is None:
            _add(videos, path.stem, FeatureFile(path.stem, path))
        else:
            _add(streams[stream], _name(path, stream), path)
    rgb, flow = streams["rgb"], streams["flow"]
    if bool(rgb) != bool(flow):
        raise InputError(
            f"{folder}: found a folder of {'rgb' if rgb else 'flow'} features but none of "
            f"{'flow' if rgb else 'rgb'}: CO2-Net needs both streams"
        )
    for name in rgb.keys() & flow.keys():
        _add(videos, name, FeatureFile(name, rgb[name], flow[name]))
    return sorted(videos.values(), key=lambda file: file.path)


def _name(path: Path, stream: str) -> str:
    """Return a video's name: the file's stem without the stream's ending."""
    ending = f"_{stream}"
    has_ending = path.stem.casefold().endswith(ending) and len(path.stem) > len(ending)
    return path.stem[: -len(ending)] if has_ending else path.stem


def _add(found: dict[str, Any], name: str, value: Path | FeatureFile) -> None:
    if name in found:
        one, other = (
            each.path if isinstance(each, FeatureFile) else each for each in (value, found[name])
        )
        raise InputError(f"{one}: its video has the same name as {other}")
    found[name] = value


def _expand(path: Path, *, paired: bool) -> list[FeatureFile]:
    if os.path.isdir(path):  # noqa: PTH112  # unlike Path's, false for names that cannot be
        if paired:
            return pair_streams(path)
        return [FeatureFile(file.stem, file) for file in files_below(path)]
    files = [path]
    if is_pattern(path):
        anchor = Path(path.anchor) if path.anchor else Path()
        hidden = path.name.startswith(".")
        try:
            matches = list(anchor.glob(str(path.relative_to(path.anchor))))
        except (ValueError, OSError) as error:  # as for **.npy, and parts of over 255 bytes
            raise InputError(f"{path}: not a pattern that can be searched: {error}") from error
        files = sorted(file for file in matches if hidden or not file.name.startswith("."))
        if not files:
            raise InputError(f"{path}: no file matches this pattern")
    return [FeatureFile("stdin" if str(file) == STDIN else file.stem, file) for file in files]
