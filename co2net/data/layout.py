"""Our own folder layout: DATA/annotations.json and DATA/features/<video>.npy, written.

`open_dataset` reads it, as it reads any folder of per-video features; annotations.json also states
the timing and the widths of the streams.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from co2net.data.annotations import ANNOTATIONS_FILE, Annotations, to_document
from co2net.data.dataset import FEATURES_FOLDER
from co2net.data.streams import Streams
from co2net_runtime.errors import InputError
from co2net_runtime.features import Array, check_features
from co2net_runtime.files.atomic import (
    atomic_path,
    output_folder,
    sweep_temporaries,
    write_text,
)
from co2net_runtime.files.records import to_mapping
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.identity import EXTRACTION_NAME

FeatureDtype = Literal["float32", "float16"]


def prepare_layout(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Create the folder for a new dataset, before long work.

    With `overwrite` it may hold files; an old annotations.json goes first, so that what is left
    of an interrupted run is not taken for a dataset.

    Raises InputError if it holds files already or cannot be written.
    """
    target = Path(folder)
    for folder_of_ours in (target, target / FEATURES_FOLDER):
        sweep_temporaries(folder_of_ours)
    # a folder "features" of a run that was killed before it wrote one file is as good as none
    holds = (path for path in target.rglob("*") if not path.is_dir())
    if any(holds) and not overwrite:
        raise InputError(f"{target}: the folder is not empty: choose another or pass --overwrite")
    features = output_folder(target / FEATURES_FOLDER)
    (target / ANNOTATIONS_FILE).unlink(missing_ok=True)
    (features / EXTRACTION_NAME).unlink(missing_ok=True)
    return target


def write_features(
    folder: Path, name: str, rows: Array, dtype: FeatureDtype, where: str | None = None
) -> None:
    """Write one video's features (T, D) atomically as features/NAME.npy.

    where: The name of the features in errors; None: the video's.

    Raises InputError if a value is NaN or infinite, as it is or in `dtype`, if the name is no file
    name, or if the folder cannot be written.
    """
    if not name or Path(name).name != name or "\0" in name:
        raise InputError(f"{name!r}: a video's name becomes a file name, so it must be one")
    with np.errstate(over="ignore"):
        cast = rows.astype(dtype)
    check_features(cast, (where or name) + (" as float16" if dtype == "float16" else ""))
    target = folder / FEATURES_FOLDER / f"{name}.npy"
    # numpy appends .npy to a name without it, but not to an open file
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.save(file, cast, allow_pickle=False)


def write_layout_annotations(
    folder: Path,
    annotations: Annotations,
    timing: SnippetTiming,
    rgb_dim: int,
    flow_dim: int,
    extraction: Mapping[str, Any] | None = None,
) -> None:
    """Write annotations.json, last of all: with it the folder becomes a dataset.

    Args:
        folder: The dataset's folder; the features are in it already.
        annotations: The annotations.
        timing: Where snippets lie in time.
        rgb_dim: Channels of the RGB stream; the flow's follow.
        flow_dim: Channels of the flow stream.
        extraction: How the features were made; written beside them as extraction.json.

    Raises:
        InputError: The folder cannot be written.
    """
    if extraction is not None:
        text = json.dumps(extraction, indent=1) + "\n"
        write_text(folder / FEATURES_FOLDER / EXTRACTION_NAME, text)
    document = {
        **to_document(annotations),
        "timing": to_mapping(timing),
        "streams": to_mapping(Streams(rgb_dim, flow_dim)),
    }
    write_text(folder / ANNOTATIONS_FILE, json.dumps(document, indent=1) + "\n")
