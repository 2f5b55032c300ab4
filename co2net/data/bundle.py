"""The published bundle: NAME-I3D-JOINTFeatures.npy and the folder NAME-Annotations."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net.data.safe_pickle import load_npy
from co2net.data.video import Annotations, RawVideo, build_annotations, counted, to_segments
from co2net_runtime.errors import InputError
from co2net_runtime.files.text import normalized, number_of, read_text

FEATURES_SUFFIX = "-I3D-JOINTFeatures.npy"
ANNOTATIONS_SUFFIX = "-Annotations"
AMBIGUOUS_FILE = "Ambiguous_test.txt"

_MAX_NAME = 1000


def find_annotation_folder(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it is a bundle's annotation folder, else the one such folder inside it.

    Raises InputError if there is none or more than one.
    """
    folder = Path(path)
    if (folder / "videoname.npy").is_file():
        return folder
    found = [f for f in sorted(folder.glob(f"*{ANNOTATIONS_SUFFIX}")) if f.is_dir()]
    if len(found) == 1:
        return found[0]
    number = f"{len(found)} annotation folders" if found else "no annotations"
    raise InputError(
        f"{path}: {number} here: expected annotations.json or one folder NAME{ANNOTATIONS_SUFFIX} "
        "with videoname.npy and its like, or name the annotations with --annotations"
    )


def read_bundle_annotations(
    folder: str | os.PathLike[str], classes: Sequence[str] | None = None
) -> Annotations:
    """Read a bundle's annotation folder (method, section 6).

    classes: the class names in index order, by default those of classlist.npy. A video that is
    listed twice counts where it stands first. `extracted_fps.npy` is not read: it is wrong.

    Raises InputError naming the file if one is missing, damaged, of another length than
    videoname.npy, or states what `build_annotations` refuses.
    """
    files = _Folder(Path(folder))
    names = files.texts("videoname")
    subsets = files.texts("subset", names)
    durations = files.objects("duration", names) if files.has("duration") else [None] * len(names)
    segments, labels = files.objects("segments", names), files.objects("labels", names)
    video_labels = files.objects("labels_all", names) if files.has("labels_all") else None
    ambiguous = _read_ambiguous(files.path / AMBIGUOUS_FILE)
    raw: dict[str, RawVideo] = {}
    repeated = []
    for row, name in enumerate(names):
        if name in raw:
            repeated.append(name)
            continue
        where = f"{files.path}: {name}"
        raw[name] = RawVideo(
            subset=subsets[row],
            duration_s=_duration(durations[row], where),
            video_labels=None if video_labels is None else _labels(video_labels[row], where),
            segments=to_segments(_items(segments[row], where), where),
            segment_labels=_labels(labels[row], where),
            ambiguous=ambiguous.get(name, np.empty((0, 2))),
        )
        if len(raw[name].segments) != len(raw[name].segment_labels):
            raise InputError(
                f"{where}: {number_of(len(raw[name].segments), 'segment')} but "
                f"{len(raw[name].segment_labels)} labels"
            )
    warnings = counted(repeated, "listed twice, only the first entry counts")
    return build_annotations(raw, classes or files.texts("classlist"), str(files.path), warnings)


def find_bundle(path: str | os.PathLike[str]) -> Path | None:
    """Return the bundle's feature file that `path` is or holds, None if there is none.

    Raises InputError if it holds more than one.
    """
    root = Path(path)
    if root.is_file():
        return root if root.name.endswith(FEATURES_SUFFIX) else None
    found = sorted(root.glob(f"*{FEATURES_SUFFIX}"))
    if len(found) > 1:
        raise InputError(
            f"{root}: holds {len(found)} bundles: name one of {', '.join(f.name for f in found)}"
        )
    return found[0] if found else None


def bundle_annotation_folder(bundle: Path) -> Path:
    """Return NAME-Annotations beside the feature file. Raises InputError if it is missing."""
    folder = bundle.parent / (bundle.name.removesuffix(FEATURES_SUFFIX) + ANNOTATIONS_SUFFIX)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: {bundle.name} cannot be read without it")
    return folder


def read_bundle_features(bundle: Path) -> Mapping[str, npt.NDArray[Any]]:
    """Read a bundle's features: one array (T, D) per video, by name; the file is read whole.

    The arrays' own shapes and values are not checked.

    Raises InputError if a file is missing, damaged, holds anything but arrays, or their number
    is not that of the annotated videos.
    """
    names = _Folder(bundle_annotation_folder(bundle)).texts("videoname")
    features = load_npy(bundle)
    if features.ndim == 0 or len(features) != len(names):
        raise InputError(
            f"{bundle}: holds an array of shape {features.shape}, expected one entry for each of "
            f"the {number_of(len(names), 'video')} of the annotations"
        )
    by_name: dict[str, npt.NDArray[Any]] = {}
    for row, name in enumerate(names):
        if not isinstance(features[row], np.ndarray):
            found = type(features[row]).__name__
            raise InputError(f"{bundle}: {name}: expected an array (T, D), found a {found}")
        by_name.setdefault(name, features[row])
    return by_name


class _Folder:
    """The .npy files of an annotation folder, each with one entry per video."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / f"{name}.npy").is_file()

    def objects(self, name: str, videos: Sequence[str] | None = None) -> Sequence[Any]:
        file = self.path / f"{name}.npy"
        entries = load_npy(file)
        if entries.ndim == 0:
            raise InputError(f"{file}: expected one entry per video, found a single value")
        if videos is not None and len(entries) != len(videos):
            raise InputError(
                f"{file}: {number_of(len(entries), 'entry')}, but videoname.npy names "
                f"{number_of(len(videos), 'video')}"
            )
        return list(entries)

    def texts(self, name: str, videos: Sequence[str] | None = None) -> list[str]:
        file = self.path / f"{name}.npy"
        return [_text(entry, str(file)) for entry in self.objects(name, videos)]


def _text(value: Any, where: str) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    # the same long text could be listed a million times, and would be copied as often
    if isinstance(value, (bytes, str)) and len(value) > _MAX_NAME:
        raise InputError(f"{where}: a name of {len(value)} characters")
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        return normalized(value)
    raise InputError(f"{where}: expected text, found a {type(value).__name__}")


def _items(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, (list, tuple, np.ndarray)):
        return list(value)
    raise InputError(f"{where}: expected a list, found a {type(value).__name__}")


def _labels(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(label, where) for label in _items(value, where))


def _duration(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        return float(np.asarray(value, dtype=np.float64).item())
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: duration: expected seconds, found a {type(value).__name__}"
        ) from error


def _read_ambiguous(file: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read 'video  start  end' lines, if the file is there."""
    if not file.is_file():
        return {}
    intervals: dict[str, list[list[str]]] = {}
    for number, line in enumerate(read_text(file, "ambiguous intervals").splitlines()):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3:
            raise InputError(
                f"{file}: line {number + 1}: expected 'video  start  end', found {line!r}"
            )
        intervals.setdefault(fields[0], []).append(fields[1:])
    return {name: to_segments(rows, f"{file}: {name}") for name, rows in intervals.items()}
