"""co2net-bench accuracy: the mAP of a predictions file or a model."""

import sys
from pathlib import Path
from typing import get_args

import click

from co2net.cli.dataset_options import source_options
from co2net.data.dataset import Dataset, DatasetOptions, open_dataset
from co2net.data.video import counted
from co2net.evaluation.mean_ap import EvaluationOptions, Protocol
from co2net_benchmarks.accuracy import error_analysis
from co2net_benchmarks.accuracy.comparison import compare
from co2net_benchmarks.accuracy.judge import Judged, is_model, judge_model, judge_predictions
from co2net_benchmarks.accuracy.results import accuracy_results
from co2net_benchmarks.accuracy.tables import accuracy_tables
from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.run_file import Run, now
from co2net_benchmarks.runners.runner import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder
from co2net_runtime.files.records import to_mapping

EPILOG = """
\b
Examples:
  co2net-bench accuracy predictions.json data/
  co2net-bench accuracy model.onnx data/ --per-class
  co2net-bench accuracy new.json annotations.json --compare old.json --analyse
"""

_PATH = click.Path(path_type=Path)


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("predictions", type=_PATH, metavar="PREDICTIONS.json|MODEL.onnx")
@click.argument("data", type=_PATH)
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
    help="co2net: whole snippets, tIoU .1:.1:.9. activitynet: seconds, tIoU .5:.05:.95.",
)
@click.option("--per-class", is_flag=True, help="Also print the AP of every class.")
@click.option(
    "--analyse",
    is_flag=True,
    help="Also print types of errors, what each costs, and missed instances by length.",
)
@click.option(
    "--tiou",
    "analysed_tious",
    type=click.FloatRange(min=0.1, max=1),
    multiple=True,
    metavar="TIOU",
    help="Threshold of --analyse, 0.1 to 1; may be given several times.  [default: 0.5]",
)
@click.option(
    "--compare",
    "baseline",
    type=_PATH,
    metavar="BASELINE",
    help="Predictions or a model to compare with: differences in mAP, segments lost and gained.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engine.")
@click.option("--device", help="Device of a model, as cpu or cuda:0.")
@click.option("--backend", help="Backend of the runtime.")
@click.option("--out", type=_PATH, help="Also write a run file, for co2net-bench report.")
@click.option("--json", "as_json", is_flag=True, help="Print the run file instead of tables.")
@console.quiet_option
@console.version_option
def accuracy(
    predictions: Path,
    data: Path,
    dataset_options: DatasetOptions,
    subset: str | None,
    protocol: Protocol,
    per_class: bool,
    analyse: bool,
    analysed_tious: tuple[float, ...],
    baseline: Path | None,
    threads: int | None,
    device: str | None,
    backend: str | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the detection mAP of PREDICTIONS, or of what MODEL finds, on the videos of DATA.

    DATA is a dataset. For a predictions file its annotations suffice: an ActivityNet-style JSON
    file or an annotation folder.
    """
    if analysed_tious and not analyse:
        raise click.UsageError("--tiou is a threshold of --analyse: give that too")
    if out is not None:
        output_folder(out.parent)
    machine, created = describe_machine(), now()
    engine = EngineOptions(threads, device, backend)
    sources = [predictions] if baseline is None else [predictions, baseline]
    runs_models = any(map(is_model, sources))
    if engine.given() and not runs_models:
        raise click.UsageError("--threads, --device and --backend are for models")
    dataset = open_dataset(data, dataset_options, features=runs_models)
    for warning in dataset.warnings:
        console.note(f"warning: {warning}", quiet=quiet)
    subset = subset or _default_subset(dataset)
    options = EvaluationOptions.of(protocol)
    judged = [_judge(source, dataset, subset, options, engine, quiet=quiet) for source in sources]

    analysis: tuple[error_analysis.ErrorAnalysis, ...] = ()
    if analyse:
        wanted = error_analysis.AnalysisOptions.of(protocol, analysed_tious or (0.5,))
        analysis = error_analysis.analyse(judged[0].evaluation, wanted)
    change = None if baseline is None else compare(judged[0], judged[1], dataset.classes)
    results = accuracy_results(judged[0], subset, options, dataset.classes, analysis, change)

    settings = {"data": str(data), "timing": to_mapping(dataset.timing), **vars(engine)}
    command = ("co2net-bench", *sys.argv[1:])
    run = Run("accuracy", created, command, machine, settings, to_mapping(results))
    if out is not None:
        run.write(out)
    if as_json:
        click.echo(run.to_json(), nl=False)
    else:
        tables = accuracy_tables(results, per_class=per_class)
        click.echo("\n\n".join(table.to_text() for table in tables))
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
    *,
    quiet: bool,
) -> Judged:
    if is_model(source):
        judged = judge_model(source, dataset, subset, options, engine, quiet=quiet)
    else:
        judged = judge_predictions(source, dataset, subset, options)
    for failure in judged.failures:
        console.note(f"error: {failure}")
    for note in counted(judged.elsewhere, f"not of the subset {subset!r}, left out"):
        console.note(f"{source}: {note}", quiet=quiet)
    evaluation = judged.evaluation
    for warning in (
        *counted(evaluation.without_predictions, "annotated, but without predictions: all missed"),
        *counted(evaluation.unknown, "predictions, but no annotations: all false positives"),
    ):
        console.note(f"warning: {source}: {warning}", quiet=quiet)
    return judged
