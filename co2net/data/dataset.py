"""A dataset: annotations, the features of their videos, and how the two relate in time."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from co2net.data.annotations import (
    ANNOTATIONS_FILE,
    Annotations,
    Video,
    from_document,
    read_annotations,
    read_document,
    train_test_subsets,
)
from co2net.data.bundle import bundle_annotation_folder, find_bundle, read_bundle_features
from co2net.data.class_list import read_class_list
from co2net.data.feature_store import (
    BundleStore,
    FeatureStore,
    Header,
    find_store,
)
from co2net.data.video import counted
from co2net_runtime.errors import InputError
from co2net_runtime.features import Array, Features, check_features
from co2net_runtime.files.records import from_mapping
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.identity import EXTRACTION_NAME, read_extraction

FEATURES_FOLDER = "features"


@dataclass(frozen=True)
class DatasetOptions:
    """What a dataset does not say of itself, or says wrongly; None leaves it to the dataset."""

    annotations: Path | None = None  # JSON file or annotation folder
    rgb: Path | None = None  # folders of the two streams, both or neither
    flow: Path | None = None
    classes: Path | None = None  # text file of class names, one a line
    snippet_frames: int | None = None  # see SnippetTiming
    fps: float | None = None
    rgb_dim: int | None = None  # channels that are RGB where a file holds both; by default half
    key: str | None = None  # the array to take from .npz files
    average_crops: bool = False  # of features (T, crops, D), take the mean over the crops
    train_subset: str | None = None  # by default as `train_test_subsets` says
    test_subset: str | None = None


@dataclass(frozen=True)
class Streams:
    """Channels of the two streams, as annotations.json states them under "streams"."""

    rgb_dim: int
    flow_dim: int


@dataclass(frozen=True)
class Dataset:
    """An open dataset.

    path: what was opened. timing: of the features. rgb_dim, flow_dim: channels of the two
    streams, RGB first; 0 if it was opened without features. warnings: what was odd in the
    annotations and the features, one line each. store: where the features lie, None if it was
    opened without. train, test: the subsets, None where nobody said which they are.
    """

    path: Path
    annotations: Annotations
    timing: SnippetTiming
    rgb_dim: int
    flow_dim: int
    warnings: tuple[str, ...]
    store: FeatureStore | None
    train: str | None
    test: str | None
    extraction: Mapping[str, Any] | None = None  # how the features were extracted; None: unknown

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
        """Return what errors call the features of a video: its file."""
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
            f"{self.path}: {len(self.annotations.videos)} videos ({chosen}), "
            f"{len(self.classes)} classes, {self.rgb_dim} + {self.flow_dim} channels, a snippet "
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

    path: a published bundle (the folder with NAME-I3D-JOINTFeatures.npy and NAME-Annotations, or
    that file), or a folder of per-video .npy files with ActivityNet-style JSON in it or named by
    the options: both streams in one file, or in folders rgb and flow.
    features: False opens the annotations alone; `path` can then also be an annotation file or
    folder. check: look at every feature file's shape now, rather than when it is used.

    Raises InputError naming what is missing, damaged or inconsistent, with `check` also for a
    video whose features have no snippets, integers, or another width than the others.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"{path}: no such file or folder")
    bundle = find_bundle(root)
    classes = None if options.classes is None else read_class_list(options.classes)
    source = _annotation_source(root, bundle, options)
    document: Mapping[str, Any] = {}
    if source.is_file():
        document = read_document(source)
        annotations = from_document(document, str(source), classes)
    else:
        annotations = read_annotations(source, classes)
    timing = _timing(document, options, str(source))
    train, test = train_test_subsets(annotations, options.train_subset, options.test_subset)
    store, widths, warnings = None, (0, 0), list(annotations.warnings)
    made_with: Mapping[str, Any] | None = None
    if features:
        store = _open_store(root, bundle, options)
        warnings += _missing(annotations, store, root)
        widths = _stream_dims(annotations, store, document, options, str(source))
        extraction = None if options.rgb else read_extraction(_features_folder(root))
        if extraction is not None:
            made_with = extraction.to_mapping()
            if extraction.timing != timing:
                warnings.append(
                    f"{EXTRACTION_NAME} says {extraction.timing}, taken is {timing}: see --stride "
                    "and --fps"
                )
    dataset = Dataset(
        root, annotations, timing, *widths, tuple(warnings), store, train, test, made_with
    )
    if store is not None and check:
        headers = {v.name: dataset.header(v.name) for v in annotations.videos if v.name in store}
        warnings += header_warnings(dataset, headers)
    return replace(dataset, warnings=tuple(warnings))


def header_warnings(dataset: Dataset, headers: Mapping[str, Header]) -> list[str]:
    """Return what is odd about the shapes of the features, one line each.

    Streams of different lengths, and features that cover far less or more than the annotated
    duration; if most do, the timing is what is wrong.
    """
    cut = [name for name, header in headers.items() if header.cut]
    ratios, far = {}, {}
    for video in dataset.annotations.videos:
        if video.name in headers and video.duration_s:
            covered_s = float(dataset.timing.to_seconds(headers[video.name].length))
            ratios[video.name] = covered_s / video.duration_s
            rounding = 2 * dataset.timing.to_seconds(1) / video.duration_s
            if abs(ratios[video.name] - 1) > 0.1 + rounding:
                far[video.name] = ratios[video.name]
    warnings = counted(cut, "RGB and flow differ by up to 2 snippets, the longer is cut")
    if len(far) > len(ratios) / 2:
        median = float(np.median(list(far.values())))
        warnings.append(
            f"the features of {len(far)} of {len(ratios)} videos cover {median:.2f} times the "
            f"annotated duration: is a snippet every {dataset.timing.snippet_frames} frames at "
            f"{dataset.timing.fps:g} fps right? See --stride and --fps"
        )
    else:
        short = [name for name, ratio in far.items() if ratio < 1]
        long = [name for name, ratio in far.items() if ratio > 1]
        warnings += counted(short, "the features are far shorter than the annotated duration")
        warnings += counted(long, "the features are far longer than the annotated duration")
    return warnings


def _annotation_source(root: Path, bundle: Path | None, options: DatasetOptions) -> Path:
    """Return the JSON file or the folder that the annotations are read from."""
    if options.annotations is not None:
        given = options.annotations
        if not given.exists():
            raise InputError(f"{given}: no such file or folder")
        inside = given / ANNOTATIONS_FILE
        return inside if inside.is_file() else given
    if bundle is not None:
        return bundle_annotation_folder(bundle)
    if root.is_file() or (root / "videoname.npy").is_file():
        return root
    if (root / ANNOTATIONS_FILE).is_file():
        return root / ANNOTATIONS_FILE
    found = sorted([*root.glob("*.json"), *root.glob("annotations/*.json")])
    if len(found) > 1:
        raise InputError(
            f"{root}: several JSON files ({', '.join(file.name for file in found[:5])}): say with "
            "--annotations which holds the annotations"
        )
    return found[0] if found else root


def _timing(document: Mapping[str, Any], options: DatasetOptions, where: str) -> SnippetTiming:
    stated = SnippetTiming()
    if "timing" in document:
        stated = from_mapping(SnippetTiming, document["timing"], f"{where}: timing")
    try:
        return SnippetTiming(
            stated.snippet_frames if options.snippet_frames is None else options.snippet_frames,
            stated.fps if options.fps is None else options.fps,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _open_store(root: Path, bundle: Path | None, options: DatasetOptions) -> FeatureStore:
    if (options.rgb is None) != (options.flow is None):
        raise InputError("give both --rgb and --flow, or neither")
    if options.rgb is None and bundle is not None:
        return BundleStore(bundle, read_bundle_features(bundle))
    if options.rgb is None and root.is_file():
        raise InputError(f"{root}: a file, expected the folder of the features")
    return find_store(
        _features_folder(root),
        options.rgb,
        options.flow,
        key=options.key,
        average_crops=options.average_crops,
    )


def _features_folder(root: Path) -> Path:
    inside = root / FEATURES_FOLDER
    return inside if inside.is_dir() else root


def _missing(annotations: Annotations, store: FeatureStore, root: Path) -> list[str]:
    missing = [video.name for video in annotations.videos if video.name not in store]
    if len(missing) == len(annotations.videos):
        raise InputError(
            f"{root}: none of the {len(missing)} annotated videos has features here: expected "
            f"files called like the videos ({missing[0]}.npy, ...)"
        )
    return counted(missing, "annotated but without features, left out")


def _stream_dims(
    annotations: Annotations,
    store: FeatureStore,
    document: Mapping[str, Any],
    options: DatasetOptions,
    where: str,
) -> tuple[int, int]:
    """Return the channels of RGB and flow: as the annotations state, else as in the first video.

    `options.rgb_dim` splits what one file holds.
    """
    if "streams" in document:
        stated = from_mapping(Streams, document["streams"], f"{where}: streams")
        widths: tuple[int, ...] = (stated.rgb_dim, stated.flow_dim)
    else:
        names = [video.name for video in annotations.videos if video.name in store]
        widths = _first_header(store, names).widths
    if len(widths) == 2 and options.rgb_dim is None:
        return widths[0], widths[1]
    total = sum(widths)
    if options.rgb_dim is None and total % 2:
        raise InputError(f"{total} channels a snippet do not halve: say --rgb-dim")
    rgb_dim = total // 2 if options.rgb_dim is None else options.rgb_dim
    if not 0 < rgb_dim < total:
        raise InputError(f"--rgb-dim {rgb_dim}: the features have {total} channels in all")
    return rgb_dim, total - rgb_dim


def _first_header(store: FeatureStore, names: Sequence[str]) -> Header:
    """Return the first header that can be read; the error of the first file if none can."""
    errors = []
    for name in names:
        try:
            return store.header(name)
        except InputError as error:
            errors.append(error)
    raise errors[0]
