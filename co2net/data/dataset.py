"""A dataset: annotations, the features of their videos, and how the two relate in time."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from co2net.data.annotations import (
    Annotations,
    Video,
    find_json,
    from_document,
    read_annotations,
    read_class_list,
    read_document,
    train_test_subsets,
)
from co2net.data.bundle import bundle_annotation_folder, find_bundle, read_bundle_features
from co2net.data.feature_store import (
    BundleStore,
    FeatureStore,
    Header,
    find_store,
)
from co2net.data.oddities import (
    check_not_transposed,
    frame_rates,
    header_warnings,
    unlearnable,
)
from co2net.data.streams import one_stream, stream_dims
from co2net.data.video import counted
from co2net_runtime.errors import InputError
from co2net_runtime.features import Array, Features, check_features
from co2net_runtime.files.records import from_mapping
from co2net_runtime.files.text import number_of, read_json
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.identity import EXTRACTION_NAME

FEATURES_FOLDER = "features"


@dataclass(frozen=True)
class DatasetOptions:
    """Corrections to a dataset's own description; None keeps the dataset's own value."""

    annotations: Path | None = None  # JSON file or annotation folder
    rgb: Path | None = None  # folders of the two streams, both or neither
    flow: Path | None = None
    classes: Path | None = None  # text file of class names, one a line
    snippet_frames: int | None = None  # see SnippetTiming
    fps: float | None = None  # of all videos; without it a video's own counts
    offset_frames: int | None = None
    rgb_dim: int | None = None  # channels that are RGB where a file holds both; by default half
    key: str | None = None  # the array to take from .npz files
    average_crops: bool = False  # of features (T, crops, D), take the mean over the crops
    train_subset: str | None = None  # by default as `train_test_subsets` says
    test_subset: str | None = None

    def timing_over(self, stated: SnippetTiming) -> SnippetTiming:
        """Return a stated timing with what these options say in its place.

        Raises InputError if the result is no timing.
        """
        given = {
            name: value
            for name in SnippetTiming.__dataclass_fields__
            if (value := getattr(self, name)) is not None
        }
        try:
            return replace(stated, **given)
        except ValueError as error:
            raise InputError(str(error)) from error


@dataclass(frozen=True)
class Dataset:
    """An open dataset.

    Example:
        dataset = open_dataset("thumos14/")
        for video in dataset.videos(dataset.train_subset):
            features = dataset.load_features(video.name)  # (T, D) float32
    """

    path: Path  # as it was opened
    annotations: Annotations
    timing: SnippetTiming  # of the features; a video's own fps counts before the one in it
    rgb_dim: int  # channels of the streams, RGB first; 0 if opened without features
    flow_dim: int
    warnings: tuple[str, ...]  # what is odd about annotations and features, one line each
    store: FeatureStore | None  # where the features lie; None if opened without
    train: str | None  # the subsets; None where nobody said which they are
    test: str | None
    extraction: Mapping[str, Any] | None = None  # extraction.json: what made the features

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in index order."""
        return self.annotations.classes

    @property
    def train_subset(self) -> str:
        """The subset to train on. Raises InputError if nobody said which it is."""
        return self._subset(self.train, "train")

    @property
    def test_subset(self) -> str:
        """The subset to test on. Raises InputError if nobody said which it is."""
        return self._subset(self.test, "test")

    def videos(self, subset: str) -> tuple[Video, ...]:
        """Return the subset's videos that have features (all if opened without), in dataset order.

        Raises InputError if there are none.
        """
        videos = self.annotations.subset(subset)
        if self.store is None:
            return videos
        found = tuple(video for video in videos if self.has_features(video.name))
        if not found:
            raise InputError(f"{self.path}: no video of the subset {subset!r} has features")
        return found

    def has_features(self, name: str) -> bool:
        """Whether there are features of a video; they may still be damaged."""
        return self.store is not None and name in self.store

    def where(self, name: str) -> str:
        """Return the name of a video's features in error texts: the file."""
        return self._store.where(name)

    def length(self, name: str) -> int:
        """Return the snippets T of a video. Raises InputError as `features` does."""
        return self.header(name).length

    def header(self, name: str) -> Header:
        """Return the shape of a video's features. Raises InputError as `features` does."""
        header = self._store.header(name)
        if header.widths not in ((self.rgb_dim + self.flow_dim,), (self.rgb_dim, self.flow_dim)):
            raise InputError(
                f"{self.where(name)}: {' + '.join(map(str, header.widths))} channels a "
                f"snippet, expected {self.rgb_dim} + {self.flow_dim} as in the rest of the dataset"
            )
        return header

    def features(self, name: str) -> Array:
        """Return a video's features (T, D), RGB first, as stored (memory-mapped where possible).

        float16, float32 or float64; the values are not checked.

        Raises InputError naming the file if it is missing, damaged, of another width, or no
        floating-point array (T, D) with T >= 1.
        """
        self.header(name)
        return self._store.read(name)

    def load_features(self, name: str) -> Features:
        """Return a video's features (T, D) as float32, all finite.

        Raises InputError as `features` does, and for NaN and infinity.
        """
        return check_features(self.features(name), self.where(name))

    def describe(self) -> str:
        """Return one line: videos, the subsets chosen, classes, feature widths, timing."""
        subsets = [
            f"{len(self.annotations.subset(name))} in {name!r} to {purpose} on"
            for name, purpose in ((self.train, "train"), (self.test, "test"))
            if name is not None
        ]
        chosen = ", ".join(subsets) or "which to train and test on is not said"
        return (
            f"{self.path}: {number_of(len(self.annotations.videos), 'video')} ({chosen}), "
            f"{number_of(len(self.classes), 'class')}, {self.rgb_dim} + {self.flow_dim} "
            "channels, a snippet "
            f"every {self.timing.snippet_frames} frames at {self.timing.fps:g} fps"
        )

    @property
    def _store(self) -> FeatureStore:
        if self.store is None:
            raise InputError(f"{self.path}: opened without features")
        return self.store

    def _subset(self, name: str | None, purpose: str) -> str:
        if name is None:
            raise InputError(
                f"{self.path}: cannot tell which subset to {purpose} on (found: "
                f"{', '.join(self.annotations.subsets)}): name it with --{purpose}-subset"
            )
        return name


def open_dataset(
    path: str | os.PathLike[str],
    options: DatasetOptions = DatasetOptions(),
    *,
    features: bool = True,
    check: bool = True,
) -> Dataset:
    """Open a dataset in any of the layouts users have (method, section 6).

    Args:
        path: A published bundle (the folder with NAME-I3D-JOINTFeatures.npy and NAME-Annotations,
            or that file), or a folder of per-video features with ActivityNet-style JSON in it or
            named by the options; `pair_streams` says how the files are called.
        options: Corrections to the dataset's own description.
        features: False opens the annotations alone; `path` can then also be an annotation file or
            folder.
        check: Look at every feature file's shape now, rather than when it is used.

    Returns:
        The dataset; its features are read when they are asked for.

    Raises:
        InputError: Something is missing, damaged or inconsistent; with `check` also a video whose
            features have no snippets, integers, or another width than the others.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"{path}: no such file or folder")
    bundle = find_bundle(root)
    classes = None if options.classes is None else read_class_list(options.classes)
    document: Mapping[str, Any] = {}
    source, files = _annotation_source(root, bundle, options)
    if files:
        document = read_document(files)
        annotations = from_document(document, str(source), classes)
    else:
        annotations = read_annotations(source, classes)
    timing = _timing(document, annotations, options, str(source))
    annotations = frame_rates(annotations, timing, forced=options.fps is not None)
    train, test = train_test_subsets(annotations, options.train_subset, options.test_subset)
    dataset = Dataset(root, annotations, timing, 0, 0, annotations.warnings, None, train, test)
    if features:
        dataset = _with_features(dataset, bundle, document, options, str(source))
    warnings = unlearnable(annotations, train, dataset.store)
    if features and check:
        videos = [video.name for video in annotations.videos if dataset.has_features(video.name)]
        headers = {name: dataset.header(name) for name in videos}
        warnings += header_warnings(annotations, timing, headers)
    return replace(dataset, warnings=(*dataset.warnings, *warnings))


def _with_features(
    dataset: Dataset,
    bundle: Path | None,
    document: Mapping[str, Any],
    options: DatasetOptions,
    where: str,
) -> Dataset:
    store = _open_store(dataset.path, bundle, options)
    warnings = [*dataset.warnings, *_missing(dataset.annotations, store, dataset.path)]
    names = [video.name for video in dataset.annotations.videos if video.name in store]
    check_not_transposed(store, names, dataset.path)
    streams = stream_dims(store, names, document, options.rgb_dim, where)
    if document.get("streams") is None and options.rgb_dim is None:
        warnings += one_stream(streams)
    return replace(
        dataset,
        store=store,
        rgb_dim=streams.rgb_dim,
        flow_dim=streams.flow_dim,
        warnings=tuple(warnings),
        extraction=_read_extraction(dataset.path, store, options),
    )


def _annotation_source(
    root: Path, bundle: Path | None, options: DatasetOptions
) -> tuple[Path, list[Path]]:
    """Return where the annotations are, and their JSON files; none for a bundle's folder."""
    if options.annotations is not None:
        source = options.annotations
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
    elif bundle is not None:
        return bundle_annotation_folder(bundle), []
    else:
        source = root
    files = find_json(source) if source.is_dir() else [source]
    return (files[0] if len(files) == 1 else source), files


def _timing(
    document: Mapping[str, Any], annotations: Annotations, options: DatasetOptions, where: str
) -> SnippetTiming:
    """Return the timing: as the options say, the document, or most of the videos' own fps."""
    stated = SnippetTiming()
    rates = Counter(video.fps for video in annotations.videos if video.fps is not None)
    if "timing" in document:
        stated = from_mapping(SnippetTiming, document["timing"], f"{where}: timing")
    elif rates:
        stated = replace(stated, fps=rates.most_common(1)[0][0])
    return options.timing_over(stated)


def _open_store(root: Path, bundle: Path | None, options: DatasetOptions) -> FeatureStore:
    if (options.rgb is None) != (options.flow is None):
        raise InputError("give both --rgb and --flow, or neither")
    if options.rgb is None and bundle is not None:
        return BundleStore(bundle, read_bundle_features(bundle))
    if options.rgb is None and root.is_file():
        raise InputError(f"{root}: a file, expected the folder of the features")
    folder = root / FEATURES_FOLDER if (root / FEATURES_FOLDER).is_dir() else root
    return find_store(
        folder,
        options.rgb,
        options.flow,
        key=options.key,
        average_crops=options.average_crops,
    )


def _missing(annotations: Annotations, store: FeatureStore, root: Path) -> list[str]:
    missing = [video.name for video in annotations.videos if video.name not in store]
    if len(missing) == len(annotations.videos):
        raise InputError(
            f"{root}: none of the {len(missing)} annotated videos has features here: expected "
            f"files called like the videos ({missing[0]}.npy, ...)"
        )
    return counted(missing, "annotated but without features, left out")


def _read_extraction(
    root: Path, store: FeatureStore, options: DatasetOptions
) -> Mapping[str, Any] | None:
    """Read extraction.json beside the features, None if there is none."""
    folders = (options.rgb, getattr(store, "folder", None), root)
    for folder in folders:
        if folder is not None and (folder / EXTRACTION_NAME).is_file():
            content = read_json(folder / EXTRACTION_NAME, "extraction record")
            if not isinstance(content, dict):
                raise InputError(f"{folder / EXTRACTION_NAME}: expected a JSON object")
            return content
    return None
