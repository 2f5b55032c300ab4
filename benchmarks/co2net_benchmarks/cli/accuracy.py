"""co2net-bench accuracy: the mAP of a predictions file or a model."""

from pathlib import Path
from typing import get_args

import click

from co2net.cli.dataset_options import DATASET_GROUPS, source_options
from co2net.data.dataset import Dataset, DatasetOptions, open_dataset
from co2net.data.video import counted
from co2net.evaluation import error_analysis
from co2net.evaluation.mean_ap import EvaluationOptions, Protocol
from co2net.evaluation.recall import recall_at
from co2net_benchmarks.accuracy.comparison import compare
from co2net_benchmarks.accuracy.judge import (
    Accuracy,
    Missing,
    is_model,
    judge_model,
    judge_predictions,
)
from co2net_benchmarks.accuracy.protocols import parse_tious
from co2net_benchmarks.accuracy.results import accuracy_results
from co2net_benchmarks.accuracy.tables import accuracy_tables
from co2net_benchmarks.cli.options import (
    ENGINE_GROUPS,
    PATH,
    Numbers,
    Output,
    engine_options,
    output_options,
)
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench accuracy predictions.json data/
  co2net-bench accuracy model.onnx data/ --per-class
  co2net-bench accuracy new.json annotations.json --compare old.json --analyze
  co2net-bench accuracy result_detection.json anet/ --protocol activitynet --tious .3:.1:.7
"""


class Tious(click.ParamType[tuple[float, ...]]):
    """tIoU thresholds: '.3:.1:.7' or '0.5,0.75'."""

    name = "tious"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read the text; fail with a usage error."""
        try:
            return value if isinstance(value, tuple) else parse_tious(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


OPTION_GROUPS = {
    "Rules": "--subset --protocol --tious --recall --missing",
    "Tables": "--per-class --analyze --tiou --compare --explain",
    **DATASET_GROUPS,
    **ENGINE_GROUPS,
}


@click.command(cls=console.Command, epilog=EPILOG, option_groups=OPTION_GROUPS)
@click.argument("predictions", type=PATH, metavar="PREDICTIONS|MODEL.onnx")
@click.argument("data", type=PATH)
@source_options
@click.option(
    "--subset",
    metavar="NAME",
    help="Subset of DATA to judge on. Default: validation beside training, else test.",
)
@click.option(
    "--protocol",
    type=click.Choice(get_args(Protocol)),
    default="co2net",
    show_default=True,
    help="co2net: whole snippets, tIoU .1:.1:.9. activitynet: seconds, tIoU .5:.05:.95. The table "
    "says who publishes numbers in that setting.",
)
@click.option(
    "--tious",
    type=Tious(),
    metavar="TIOUS",
    help="tIoU thresholds instead: START:STEP:STOP or a list, as in .3:.1:.7 or 0.5,0.75.",
)
@click.option(
    "--recall",
    "recall_counts",
    type=Numbers("numbers of segments", "1,5,10"),
    metavar="K[,K...]",
    help="Also print recall@k: instances found by the K best segments of their video and class.",
)
@click.option(
    "--missing",
    type=click.Choice(get_args(Missing)),
    default="missed",
    show_default=True,
    help="Annotated videos without predictions, or for a model without features. missed: their "
    "instances count as missed, as in ActivityNet's official evaluation; left-out: not judged.",
)
@click.option("--per-class", is_flag=True, help="Also print the AP of every class.")
@click.option(
    "--analyze",
    "--analyse",
    "analyze",
    is_flag=True,
    help="Also print types of errors, what each costs, and missed instances by length.",
)
@click.option(
    "--tiou",
    "analyzed_tious",
    type=click.FloatRange(min=0.1, max=1),
    multiple=True,
    metavar="TIOU",
    help="Threshold of --analyze, 0.1 to 1; may be given several times.  [default: 0.5]",
)
@click.option(
    "--compare",
    "baseline",
    type=PATH,
    metavar="BASELINE",
    help="Predictions or a model to compare with: differences in mAP, segments lost and gained.",
)
@engine_options
@output_options
def accuracy(
    predictions: Path,
    data: Path,
    dataset_options: DatasetOptions,
    subset: str | None,
    protocol: Protocol,
    tious: tuple[float, ...] | None,
    recall_counts: tuple[int, ...] | None,
    missing: Missing,
    per_class: bool,
    analyze: bool,
    analyzed_tious: tuple[float, ...],
    baseline: Path | None,
    engine: EngineOptions,
    output: Output,
    quiet: bool,
) -> None:
    """Print the detection mAP of PREDICTIONS, or of what MODEL finds, on the videos of DATA.

    PREDICTIONS is ActivityNet's result format, which co2net-infer and OpenTAD
    (result_detection.json) write, or a folder of shards. DATA is a dataset; for predictions its
    annotations suffice: an ActivityNet-style JSON file or an annotation folder. The exit code is 1
    if the features of some videos could not be used.
    """
    if analyzed_tious and not analyze:
        raise click.UsageError("--tiou is a threshold of --analyze: give that too")
    if baseline is not None and missing == "left-out":
        raise click.UsageError("--compare judges both on all videos: leave out --missing left-out")
    output.begin()
    sources = [predictions] if baseline is None else [predictions, baseline]
    runs_models = any(map(is_model, sources))
    if engine != EngineOptions() and not runs_models:
        raise click.UsageError("--threads, --device and --backend are for models")
    # a damaged file is that video's failure, and none of this where it is of another subset
    dataset = open_dataset(data, dataset_options, features=runs_models, check=False)
    for warning in dataset.warnings:
        console.note(f"warning: {warning}", quiet=quiet)
    subset = subset or _default_subset(dataset)
    options = EvaluationOptions.of(protocol)
    if tious is not None:
        options = EvaluationOptions(protocol, tious)
    judged = [
        _judge(source, dataset, subset, options, engine, missing, quiet=quiet) for source in sources
    ]

    analysis: tuple[error_analysis.ErrorAnalysis, ...] = ()
    if analyze:
        wanted = error_analysis.AnalysisOptions.of(protocol, analyzed_tious or (0.5,))
        analysis = error_analysis.analyze(judged[0].evaluation, wanted)
    change = None if baseline is None else compare(judged[0], judged[1], dataset.classes)
    results = accuracy_results(
        judged[0],
        subset,
        options,
        dataset.classes,
        analysis,
        change,
        missing=missing,
        recall=recall_at(judged[0].evaluation, recall_counts or ()),
    )

    settings = {"data": str(data), "timing": to_mapping(dataset.timing), **to_mapping(engine)}
    output.deliver("accuracy", settings, results, accuracy_tables(results, per_class=per_class))
    if any(each.failures for each in judged):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)


def _default_subset(dataset: Dataset) -> str:
    subsets = dataset.annotations.subsets
    if len(subsets) == 1:
        return subsets[0]
    try:
        return dataset.test_subset
    except InputError as error:
        raise InputError(
            f"{dataset.path}: cannot tell which subset to judge on (found: {', '.join(subsets)}): "
            "name it with --subset"
        ) from error


def _judge(
    source: Path,
    dataset: Dataset,
    subset: str,
    options: EvaluationOptions,
    engine: EngineOptions,
    missing: Missing,
    *,
    quiet: bool,
) -> Accuracy:
    if is_model(source):
        judged = judge_model(source, dataset, subset, options, engine, missing, quiet=quiet)
    else:
        judged = judge_predictions(source, dataset, subset, options, missing)
    for failure in judged.failures:
        console.note(f"error: {failure}")
    for note in counted(judged.elsewhere, f"not of the subset {subset!r}, left out"):
        console.note(f"{source}: {note}", quiet=quiet)
    evaluation = judged.evaluation
    for warning in (
        *counted(evaluation.without_predictions, "annotated, but without predictions: all missed"),
        *counted(judged.left_out, "annotated, but without predictions: left out"),
        *counted(evaluation.unknown, "predictions, but no annotations: all false positives"),
    ):
        console.note(f"warning: {source}: {warning}", quiet=quiet)
    return judged
