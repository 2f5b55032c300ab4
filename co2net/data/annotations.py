"""Annotations read from every format users have, and written as ActivityNet-style JSON."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from co2net.data.annotation_tools import Entries, read_eaf, read_tool
from co2net.data.bundle import find_annotation_folder, read_bundle_annotations
from co2net.data.video import (
    Annotations,
    RawVideo,
    Video,
    build_annotations,
    counted,
    to_segments,
    train_test_subsets,
)
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.text import label_name, normalized, read_json, read_text

__all__ = [
    "Annotations",
    "Video",
    "find_json",
    "from_document",
    "read_annotations",
    "read_class_list",
    "read_document",
    "to_document",
    "train_test_subsets",
    "write_annotations",
]

FORMAT_VERSION = "co2net 1"
ANNOTATIONS_FILE = "annotations.json"

# the label under which some THUMOS14 files list intervals that count neither way
_AMBIGUOUS = "Ambiguous"

# as ActivityNet and mmaction2 spell it
_DURATIONS = ("duration", "duration_second")

_SUBSETS = ("train", "training", "val", "validation", "test", "testing")


def read_annotations(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> Annotations:
    """Read annotations: a published bundle's folder, a folder that holds one, or files.

    JSON is ActivityNet-style: {"database": {video: {"subset", "duration", "fps", "annotations":
    [{"segment": [start_s, end_s], "label"}]}}}, numbers also as strings; or one file per subset,
    without "database" and "subset", whose name says which (anet_anno_train.json). A folder may
    hold it as annotations.json. Segments labeled "Ambiguous" are ambiguous intervals.

    Or what annotation tools save: exports of Label Studio and projects of VIA 3 (JSON), ELAN's .eaf
    files, one a video, or a folder of them. Their subset is the one that the folder's or the
    file's name states (test/clip.eaf, train.json), else "annotated".

    Args:
        path: The file or folder.
        classes: The class names in index order. Without them, the bundle's classlist, the JSON's
            top-level "classes", or else all labels found, sorted.

    Raises:
        InputError: A file is missing or damaged, or a label is unknown; the text names the file.
    """
    source = Path(path)
    files = find_json(source) if source.is_dir() else [source]
    if not files:
        return read_bundle_annotations(find_annotation_folder(source), classes)
    return from_document(read_document(files), _named(files), classes)


def read_class_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a text file, one a line, in training order; blank lines are skipped.

    Raises InputError if the file is missing, empty, or not UTF-8 text.
    """
    lines = read_text(path, "class list").splitlines()
    names = tuple(normalized(line) for line in lines if line.strip())
    if not names:
        raise InputError(f"{path}: expected one class name a line, found none")
    return names


def find_json(folder: Path) -> list[Path]:
    """Return the files that hold a folder's annotations; none if it is a bundle's folder.

    That is annotations.json, else the only JSON file, else those that name a subset each; without
    JSON, ELAN's files in the folder and those below it.

    Raises InputError if there are several and they do not.
    """
    if (folder / ANNOTATIONS_FILE).is_file():
        return [folder / ANNOTATIONS_FILE]
    if (folder / "videoname.npy").is_file():
        return []
    found = [*folder.glob("*.json"), *folder.glob("annotations/*.json")]
    files = sorted(file for file in found if not file.name.startswith("."))
    subsets = [_subset_of(file) for file in files]
    if len(files) > 1 and (None in subsets or len(set(subsets)) < len(subsets)):
        raise InputError(
            f"{folder}: several JSON files ({', '.join(file.name for file in files[:5])}): say "
            "with --annotations which holds the annotations"
        )
    return files or sorted({*folder.glob("*.eaf"), *folder.glob("*/*.eaf")})


def read_document(files: Sequence[Path]) -> dict[str, Any]:
    """Read a file of annotations, or several as if they were one; "warnings" says what is odd.

    Raises InputError if one is missing, empty, damaged, or holds no annotated videos.
    """
    merged: dict[str, Any] = {}
    videos: list[tuple[str, Any]] = []
    warnings: list[str] = []
    for file in files:
        document, found = _read_file(file)
        warnings += found
        entries = document.get("database") if isinstance(document, dict) else None
        if entries is None and isinstance(document, dict) and _is_database(document):
            entries, document = document, {}
        if not isinstance(entries, dict):
            raise InputError(
                f'{file}: expected ActivityNet-style annotations, {{"database": {{video: ...}}}}'
            )
        subset = _subset_of(file)
        for entry in entries.values():
            if subset is not None and isinstance(entry, dict) and "subset" not in entry:
                entry["subset"] = subset
        videos += [*entries.items(), *((name, {}) for name in getattr(entries, "repeated", ()))]
        merged = {**document, **merged}
    merged["database"] = _Object(videos)
    merged["warnings"] = warnings
    return merged


def _read_file(file: Path) -> tuple[Any, list[str]]:
    """Return a file as ActivityNet-style content, and warnings about it."""
    if file.suffix.lower() == ".eaf":
        return _as_document(read_eaf(file), file), []
    document = read_json(file, "annotations", _Object)
    found = read_tool(document, str(file))
    return (document, []) if found is None else (_as_document(found[0], file), found[1])


def _as_document(entries: Entries, file: Path) -> dict[str, Any]:
    folder = file.parent.name.casefold()
    subset = folder if folder in _SUBSETS else _subset_of(file) or "annotated"
    return {"database": _Object([(name, {"subset": subset, **one}) for name, one in entries])}


def from_document(
    document: Mapping[str, Any], where: str, classes: Sequence[str] | None = None
) -> Annotations:
    """Build annotations from the content of JSON; `where` names it in errors.

    Raises InputError as `read_annotations` does.
    """
    database = document["database"]
    repeated = list(database.repeated) if isinstance(database, _Object) else []
    raw: dict[str, RawVideo] = {}
    for given, entry in database.items():
        name = normalized(given)
        if name in raw:
            repeated.append(name)
        else:
            raw[name] = _raw_video(entry, f"{where}: {name}")
    warnings = [
        *document.get("warnings", ()),
        *counted(repeated, "annotated twice, only the first entry counts"),
    ]
    numbers = [name for name, entry in database.items() if _labels_are_numbers(entry)]
    warnings += counted(numbers, "labels are numbers, taken as the names of classes")
    if classes is None and document.get("classes") is not None:
        classes = document["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise InputError(f"{where}: classes: expected a list of names")
    if classes is None:
        classes = sorted({label for video in raw.values() for label in video.all_labels})
    return build_annotations(raw, [normalized(name) for name in classes], where, warnings)


def to_document(annotations: Annotations) -> dict[str, Any]:
    """Return annotations as ActivityNet-style JSON content.

    With keys of ours: "classes" at the top level, "labels" (the video-level ones) and "ambiguous"
    in each video.
    """
    classes = annotations.classes
    database = {}
    for video in annotations.videos:
        entry: dict[str, Any] = {"subset": video.subset}
        if video.fps is not None:
            entry["fps"] = video.fps
        if video.duration_s is not None:
            entry["duration"] = video.duration_s
        entry["labels"] = [classes[label] for label in video.labels]
        entry["annotations"] = [
            {"segment": segment, "label": classes[label]}
            for segment, label in zip(
                video.segments.tolist(), video.segment_labels.tolist(), strict=True
            )
        ]
        if len(video.ambiguous):
            entry["ambiguous"] = video.ambiguous.tolist()
        database[video.name] = entry
    return {"version": FORMAT_VERSION, "classes": list(classes), "database": database}


def write_annotations(annotations: Annotations, path: str | os.PathLike[str]) -> None:
    """Write annotations as ActivityNet-style JSON, atomically, times in full precision.

    Raises InputError if the folder cannot be written.
    """
    write_text(path, json.dumps(to_document(annotations), indent=1) + "\n")


def _raw_video(entry: Any, where: str) -> RawVideo:
    try:
        instances = [
            (label_name(record["label"]), record["segment"])
            for record in entry.get("annotations") or ()
        ]
        duration = next((entry[key] for key in _DURATIONS if entry.get(key) is not None), None)
        labels, fps = entry.get("labels"), entry.get("fps")
        ambiguous = [segment for label, segment in instances if label == _AMBIGUOUS]
        actions = [(label, segment) for label, segment in instances if label != _AMBIGUOUS]
        if not isinstance(entry["subset"], str):
            raise TypeError(f"a subset that is {entry['subset']!r}")
        return RawVideo(
            subset=normalized(entry["subset"]),
            duration_s=None if duration is None else float(duration),
            video_labels=None if labels is None else tuple(label_name(label) for label in labels),
            segments=to_segments([segment for _, segment in actions], where),
            segment_labels=tuple(label for label, _ in actions),
            ambiguous=to_segments([*ambiguous, *(entry.get("ambiguous") or ())], where),
            fps=None if fps is None else float(fps),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{where}: expected 'subset' and 'annotations', a list of 'segment': [start, end] and "
            f"'label' (found a {type(error).__name__}: {error})"
        ) from error


def _labels_are_numbers(entry: Any) -> bool:
    records = entry.get("annotations") or ()
    return any(isinstance(record["label"], (int, float)) for record in records)


def _is_database(document: Mapping[str, Any]) -> bool:
    entries = list(document.values())
    return bool(entries) and all(isinstance(e, dict) and "annotations" in e for e in entries)


def _subset_of(file: Path) -> str | None:
    """Return the subset that a file's name states, None if it states none."""
    words = re.split(r"[^a-z]+", file.stem.casefold())
    return next((word for word in reversed(words) if word in _SUBSETS), None)


def _named(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else str(files[0].parent)


class _Object(dict[str, Any]):
    """A JSON object that keeps the first of equal names, which JSON allows, and says which."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: list[str] = []
        for name, value in pairs:
            if name in self:
                self.repeated.append(name)
            self.setdefault(name, value)
