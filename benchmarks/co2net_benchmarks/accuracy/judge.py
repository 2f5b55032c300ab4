"""A predictions file or a model, judged on an annotated dataset.

A video of the subset that has no predictions, or no features for the model to find any in, counts
as missed, as in ActivityNet's official evaluation; so a model and the file of its predictions get
one number. `Missing` "left-out" judges only the videos that were looked at.
"""

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from co2net.data.dataset import Dataset
from co2net.data.feature_store import FILE_PREFIX
from co2net.data.video import Video
from co2net.evaluation.mean_ap import (
    EvaluationOptions,
    classification_map,
    classification_scores,
)
from co2net.evaluation.protocol import Evaluation, evaluate
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.detections import Detections
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.localizer import Localizer
from co2net_runtime.shards.results import read_predictions

MODEL_SUFFIXES = (".onnx", ".engine")
Missing = Literal["missed", "left-out"]
"""How annotated videos without predictions are counted."""


@dataclass(frozen=True)
class Accuracy:
    """A predictions file or a model and its evaluation."""

    source: str  # its path
    results: Mapping[str, Detections]  # those that were judged, by video
    evaluation: Evaluation
    classification_map: float | None = None  # None for predictions, which do not score videos
    engine: str | None = None  # what ran the model; None for predictions
    failures: tuple[str, ...] = ()  # one line per video whose features could not be used
    elsewhere: tuple[str, ...] = ()  # videos with predictions of another subset, left out
    left_out: tuple[str, ...] = ()  # videos without predictions that were not judged


def is_model(path: Path) -> bool:
    """Return whether the path names a model rather than a predictions file."""
    return path.suffix in MODEL_SUFFIXES


def judge_predictions(
    path: str | os.PathLike[str],
    dataset: Dataset,
    subset: str,
    options: EvaluationOptions,
    missing: Missing = "missed",
) -> Accuracy:
    """Judge an ActivityNet result file on the annotated videos of the subset.

    OpenTAD's result_detection.json has the same form. Of the dataset, annotations suffice. A
    video that is not annotated is looked for without, or with, the v_ of ActivityNet's files.

    Raises InputError if the file cannot be used, names a label that the dataset does not know, or
    no video of the subset.
    """
    videos = _annotated(dataset, subset)
    inside = {video.name for video in videos}
    everywhere = {video.name for video in dataset.annotations.videos}
    results = {}
    for name, found in read_predictions(path).items():
        known = _annotated_name(name, everywhere)
        if known in results:
            raise InputError(
                f"{path}: {known!r} is there twice, with and without {FILE_PREFIX}: which one "
                "counts cannot be told"
            )
        results[known] = found
    if results and not inside & set(results):
        raise InputError(
            f"{path}: none of its videos is in the subset {subset!r} of "
            f"{dataset.path} (found {next(iter(results))}, expected {videos[0].name} and the like)"
        )
    others = everywhere - inside
    elsewhere = tuple(name for name in results if name in others)
    judged = {name: found for name, found in results.items() if name not in others}
    evaluation, left_out = _evaluate(path, judged, videos, dataset, options, missing)
    return Accuracy(str(path), judged, evaluation, elsewhere=elsewhere, left_out=left_out)


def judge_model(
    path: str | os.PathLike[str],
    dataset: Dataset,
    subset: str,
    options: EvaluationOptions,
    engine: EngineOptions,
    missing: Missing = "missed",
    *,
    quiet: bool = False,
) -> Accuracy:
    """Run a model over the videos of the subset that have features, and judge its detections.

    Raises:
        InputError: The model or the dataset cannot be used, their snippets differ in width or
            time, or no video's features can be used.
        BackendError: The engine does not run.
    """
    results, scores, videos, failures = {}, [], [], []
    annotated = _annotated(dataset, subset)
    wanted = dataset.videos(subset)
    with Localizer.load(path, engine) as localizer:
        contract, runs_on = localizer.contract, str(localizer.engine)
        _check_fit(path, contract, dataset)
        with console.progress(wanted, "localizing", quiet=quiet) as bar:
            for video in bar:
                try:
                    activations = localizer.network.run([dataset.load_features(video.name)])[0]
                except Co2netError as error:
                    failures.append(str(error))
                    continue
                results[video.name] = localizer.detect(activations)
                scores.append(classification_scores(activations.cas))
                videos.append(video)
    if not results:
        raise InputError(f"{dataset.path}: no video could be used; the first error: {failures[0]}")
    evaluation, left_out = _evaluate(path, results, annotated, dataset, options, missing)
    columns = [
        contract.classes.index(name) if name in contract.classes else -1 for name in dataset.classes
    ]
    # a class that the model does not know scores 0, below every class that it does
    padded = np.pad(np.stack(scores), ((0, 0), (0, 1)))
    _, mean = classification_map(padded[:, columns], dataset.annotations.label_matrix(videos))
    return Accuracy(
        str(path), results, evaluation, mean, runs_on, tuple(failures), left_out=left_out
    )


def _check_fit(path: str | os.PathLike[str], contract: Contract, dataset: Dataset) -> None:
    widths, theirs = (contract.rgb_dim, contract.flow_dim), (dataset.rgb_dim, dataset.flow_dim)
    if widths != theirs:
        raise InputError(
            f"{path}: made for {widths[0]} RGB + {widths[1]} flow channels, {dataset.path} has "
            f"{theirs[0]} + {theirs[1]}: if only the split is wrong, say it with --rgb-dim"
        )
    timing, its = contract.timing, dataset.timing
    if timing != its:
        raise InputError(
            f"{path}: made for a snippet every {timing.snippet_frames} frames at {timing.fps:g} "
            f"fps, {dataset.path} has one every {its.snippet_frames} at {its.fps:g}: if that is "
            "wrong, say it with --stride and --fps"
        )


def _annotated_name(name: str, annotated: Set[str]) -> str:
    aliases = (name, name.removeprefix(FILE_PREFIX), FILE_PREFIX + name)
    return next((alias for alias in aliases if alias in annotated), name)


def _annotated(dataset: Dataset, subset: str) -> Sequence[Video]:
    videos = dataset.annotations.subset(subset)
    if not any(len(video.segments) for video in videos):
        raise InputError(f"{dataset.path}: no segment is annotated in the subset {subset!r}")
    return videos


def _evaluate(
    path: str | os.PathLike[str],
    results: Mapping[str, Detections],
    videos: Sequence[Video],
    dataset: Dataset,
    options: EvaluationOptions,
    missing: Missing,
) -> tuple[Evaluation, tuple[str, ...]]:
    left_out: tuple[str, ...] = ()
    if missing == "left-out":
        left_out = tuple(video.name for video in videos if video.name not in results)
        videos = [video for video in videos if video.name in results]
    try:
        return evaluate(results, videos, dataset.classes, options, dataset.timing), left_out
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
