"""The "results" of a run file of kind "accuracy".

The fields of AccuracyResults and of the records in it are the keys of the JSON. AP and mAP are
fractions of 1, times are in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from co2net.evaluation.error_analysis import ErrorAnalysis
from co2net.evaluation.mean_ap import EvaluationOptions
from co2net.evaluation.recall import Recall
from co2net_benchmarks.accuracy.comparison import Comparison
from co2net_benchmarks.accuracy.judge import Accuracy, Missing


@dataclass(frozen=True)
class ClassAccuracy:
    """One class."""

    name: str
    instances: int
    predictions: int
    ap: tuple[float, ...] | None  # per threshold; None: no instances


@dataclass(frozen=True)
class AccuracyResults:
    """A predictions file or a model on a subset."""

    source: str  # its file
    engine: str | None  # what ran the model; None for a predictions file
    subset: str
    protocol: str
    tious: tuple[float, ...]  # the thresholds
    map: tuple[float, ...]  # mAP per threshold
    averages: dict[str, float]  # its means over "0.1:0.5", "0.3:0.7", "0.1:0.7", if measured; "all"
    classification_map: float | None  # of the videos' labels; None for a predictions file
    videos: int  # annotated ones that were judged
    instances: int  # annotated
    predictions: int
    ambiguous: int  # predictions left out because they overlap an ambiguous interval
    without_predictions: tuple[str, ...]  # annotated videos that have none
    unknown_videos: tuple[str, ...]  # videos with predictions that are not annotated
    classes: tuple[ClassAccuracy, ...]
    analysis: tuple[ErrorAnalysis, ...] = ()  # per threshold that was asked for
    comparison: Comparison | None = None  # with the baseline, if one was given
    missing: Missing = "missed"  # what became of annotated videos without predictions
    recall: tuple[Recall, ...] = ()  # per k that was asked for


def accuracy_results(
    judged: Accuracy,
    subset: str,
    options: EvaluationOptions,
    classes: Sequence[str],
    analysis: tuple[ErrorAnalysis, ...] = (),
    comparison: Comparison | None = None,
    *,
    missing: Missing = "missed",
    recall: tuple[Recall, ...] = (),
) -> AccuracyResults:
    """Gather all figures; classes: the names that the labels index."""
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
        without_predictions=evaluation.without_predictions or judged.left_out,
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
        missing=missing,
        recall=recall,
    )
