"""Annotations read from every format users have, and written as ActivityNet-style JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

__all__ = [
    "Annotations",
    "Video",
    "from_document",
    "read_annotations",
    "read_document",
    "to_document",
    "train_test_subsets",
    "write_annotations",
]

FORMAT_VERSION = "co2net 1"
ANNOTATIONS_FILE = "annotations.json"

# the label under which some THUMOS14 files list intervals that count neither way
_AMBIGUOUS = "Ambiguous"


def read_annotations(
    path: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> Annotations:
    """Read annotations: a published bundle's folder, a folder that holds one, or a JSON file.

    JSON is ActivityNet-style: {"database": {video: {"subset", "duration", "annotations":
    [{"segment": [start_s, end_s], "label"}]}}}, numbers also as strings; a folder may hold it as
    annotations.json. Segments labelled "Ambiguous" are ambiguous intervals.

    classes: the class names in index order; without them, the bundle's classlist, the JSON's
    top-level "classes", or else all labels found, sorted.

    Raises InputError naming the file if it is missing or damaged, a segment ends before it starts
    or is not finite, or a label is unknown.
    """
    source = Path(path)
    if source.is_dir():
        if not (source / ANNOTATIONS_FILE).is_file():
            return read_bundle_annotations(find_annotation_folder(source), classes)
        source = source / ANNOTATIONS_FILE
    return from_document(read_document(source), str(source), classes)


def read_document(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the JSON file of annotations.

    Raises InputError if it is missing, empty, no JSON, or has no "database".
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_Object)
    except OSError as error:
        raise InputError(f"{path}: cannot read the annotations: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected annotations as JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("database"), dict):
        raise InputError(
            f'{path}: expected ActivityNet-style annotations, {{"database": {{video: ...}}}}'
        )
    return document


def from_document(
    document: Mapping[str, Any], where: str, classes: Sequence[str] | None = None
) -> Annotations:
    """Build annotations from the content of a JSON file; `where` names it in errors.

    Raises InputError as `read_annotations` does.
    """
    database = document["database"]
    repeated = database.repeated if isinstance(database, _Object) else []
    warnings = counted(repeated, "annotated twice, only the first entry counts")
    raw = {name: _raw_video(entry, f"{where}: {name}") for name, entry in database.items()}
    if classes is None:
        classes = document.get("classes")
    if classes is None:
        classes = sorted({label for video in raw.values() for label in video.all_labels})
    elif not all(isinstance(name, str) for name in classes):
        raise InputError(f"{where}: classes: expected a list of names")
    return build_annotations(raw, classes, where, warnings)


def to_document(annotations: Annotations) -> dict[str, Any]:
    """Return annotations as ActivityNet-style JSON content.

    With keys of ours: "classes" at the top level, "labels" (the video-level ones) and "ambiguous"
    in each video.
    """
    classes = annotations.classes
    database = {}
    for video in annotations.videos:
        entry: dict[str, Any] = {"subset": video.subset}
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
            (str(record["label"]), record["segment"]) for record in entry.get("annotations") or ()
        ]
        duration, labels = entry.get("duration"), entry.get("labels")
        ambiguous = [segment for label, segment in instances if label == _AMBIGUOUS]
        actions = [(label, segment) for label, segment in instances if label != _AMBIGUOUS]
        return RawVideo(
            subset=str(entry["subset"]),
            duration_s=None if duration is None else float(duration),
            video_labels=None if labels is None else tuple(str(label) for label in labels),
            segments=to_segments([segment for _, segment in actions], where),
            segment_labels=tuple(label for label, _ in actions),
            ambiguous=to_segments([*ambiguous, *(entry.get("ambiguous") or ())], where),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: expected 'subset' and 'annotations', a list of 'segment': [start, end] and "
            f"'label' (found a {type(error).__name__}: {error})"
        ) from error


class _Object(dict[str, Any]):
    """A JSON object that keeps the first of equal names, which JSON allows, and says which."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: list[str] = []
        for name, value in pairs:
            if name in self:
                self.repeated.append(name)
            self.setdefault(name, value)
