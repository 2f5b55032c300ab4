"""What `co2net-bench accuracy` found: the "results" of a run file of kind "accuracy".

The fields of AccuracyResults and of the records in it are the keys of the JSON. AP and mAP are
fractions of 1, times are in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from co2net.evaluation.mean_ap import EvaluationOptions
from co2net_benchmarks.accuracy.comparison import Comparison
from co2net_benchmarks.accuracy.error_analysis import ErrorAnalysis
from co2net_benchmarks.accuracy.judge import Judged


@dataclass(frozen=True)
class ClassAccuracy:
    """One class: how many instances and predictions, AP per threshold (None: no instances)."""

    name: str
    instances: int
    predictions: int
    ap: tuple[float, ...] | None


@dataclass(frozen=True)
class AccuracyResults:
    """A predictions file or a model on a subset.

    source: its file. engine: what ran the model, None for a predictions file. tious: the
    thresholds. map: mAP per threshold. averages: means of it over ranges of thresholds
    ("0.1:0.5", "0.3:0.7", "0.1:0.7", "all"), those that were measured. classification_map: of the
    videos' labels, None for a predictions file. videos, instances, predictions: how many were
    compared. ambiguous: how many predictions were left out because they overlap an ambiguous
    interval. without_predictions: annotated videos that have none. unknown_videos: videos with
    predictions that are not annotated. analysis: per threshold that was asked for. comparison:
    with the baseline, if one was given.
    """

    source: str
    engine: str | None
    subset: str
    protocol: str
    tious: tuple[float, ...]
    map: tuple[float, ...]
    averages: dict[str, float]
    classification_map: float | None
    videos: int
    instances: int
    predictions: int
    ambiguous: int
    without_predictions: tuple[str, ...]
    unknown_videos: tuple[str, ...]
    classes: tuple[ClassAccuracy, ...]
    analysis: tuple[ErrorAnalysis, ...] = ()
    comparison: Comparison | None = None


def accuracy_results(
    judged: Judged,
    subset: str,
    options: EvaluationOptions,
    classes: Sequence[str],
    analysis: tuple[ErrorAnalysis, ...] = (),
    comparison: Comparison | None = None,
) -> AccuracyResults:
    """Gather everything that was found; classes: the names that the labels index."""
    evaluation, result = judged.evaluation, judged.evaluation.result
    return AccuracyResults(
        source=judged.source,
        engine=judged.engine,
        subset=subset,
        protocol=options.protocol,
        tious=result.tious,
        map=tuple(result.map.tolist()),
        averages=result.averages,
        classification_map=judged.classification_map,
        videos=len(evaluation.videos) - len(evaluation.unknown),
        instances=len(evaluation.ground_truth),
        predictions=len(evaluation.predictions),
        ambiguous=evaluation.ambiguous,
        without_predictions=evaluation.without_predictions,
        unknown_videos=evaluation.unknown,
        classes=tuple(
            ClassAccuracy(
                name,
                int(result.instances[label]),
                int(result.predictions[label]),
                tuple(result.ap[:, label].tolist()) if result.instances[label] else None,
            )
            for label, name in enumerate(classes)
        ),
        analysis=analysis,
        comparison=comparison,
    )
