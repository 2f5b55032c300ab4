"""co2net-train: a dataset -> checkpoints."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click

from co2net.cli.dataset_options import dataset_options as takes_dataset
from co2net.config import PRESETS, Select, TrainConfig
from co2net.data.dataset import Dataset, DatasetOptions, open_dataset
from co2net.results import curves
from co2net.results.summary import RunSummary, to_document, to_table
from co2net.settings import apply_settings, dump_config, read_config
from co2net.training.devices import describe, resolve
from co2net.training.distributed import Group, process_group
from co2net.training.loop import Outcome, train
from co2net.training.progress import StatusLine
from co2net.training.run_folder import RunFolder
from co2net.training.training_data import TrainingData
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import write_text

EPILOG = """
\b
Examples:
  co2net-train thumos14/ --out runs/a
  co2net-train thumos14/ --out runs/a --resume
  co2net-train data/ --out runs/b --set iterations=1000 --set max_snippets=320
  co2net-train data/ --out runs/c --config runs/b/config.yaml --seeds 1,2,3
  co2net-train --preset activitynet1.2 --print-config
  torchrun --nproc-per-node 4 -m co2net.training.loop data/ --out runs/d
"""

DEFAULT_PRESET = "thumos14"


def _seeds(_context: click.Context, _option: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter("expected numbers separated by commas") from error
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter("a seed stands there twice")
    return seeds


@click.command("co2net-train", cls=console.Command, epilog=EPILOG)
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="RUN", help="Folder of the run.")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help=f"Settings to start from.  [default: {DEFAULT_PRESET}; with --resume, the run's own]",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file of settings that replace the preset's.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace one setting; after --config. Repeatable. Groups: loss.topk_divisor=5.",
)
@click.option("--print-config", is_flag=True, help="Print the settings as YAML and stop.")
@click.option(
    "--select",
    type=click.Choice(get_args(Select)),
    help="What best.ckpt is: short for --set select=....  [default: best-on-holdout]",
)
@click.option(
    "--seeds",
    callback=_seeds,
    metavar="N,N,...",
    help="Train once with each seed, in RUN/seed-N, and report mean and standard deviation.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to train.",
)
@click.option("--resume", is_flag=True, help="Continue the run in RUN where it stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the run in RUN.")
@click.option("--plot", is_flag=True, help="Draw RUN/curves.png at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@takes_dataset
@console.quiet_option
@console.version_option
def main(
    data: Path | None,
    out: Path | None,
    preset: str | None,
    config_file: Path | None,
    settings: Sequence[str],
    print_config: bool,
    select: Select | None,
    seeds: list[int] | None,
    device: str,
    resume: bool,
    overwrite: bool,
    plot: bool,
    as_json: bool,
    quiet: bool,
    dataset_options: DatasetOptions,
) -> int:
    """Train CO2-Net on DATA, a folder of features and annotations, into RUN.

    RUN gets config.yaml, metrics.jsonl, environment.jsonl, TensorBoard events, last.ckpt and,
    unless --select last, best.ckpt. Ctrl-C writes last.ckpt first; --resume goes on from it.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    runs = _runs(out, seeds)
    stored = next((run.config for run in runs if resume and run.config.is_file()), None)
    if preset is not None or stored is None:
        config = PRESETS[preset or DEFAULT_PRESET]
    else:
        config = read_config(stored, TrainConfig())
    if config_file is not None:
        config = read_config(config_file, config)
    config = apply_settings([*settings, *([f"select={select}"] if select else [])], config)
    if print_config:
        click.echo(dump_config(config), nl=False)
        return 0
    if data is None or out is None:
        raise click.UsageError("give DATA and --out RUN")
    if plot:
        curves.require_matplotlib()
    chosen = resolve(device)
    dataset = open_dataset(data, dataset_options)
    with process_group(chosen) as group:
        line = StatusLine(quiet=quiet or not group.leads)
        for warning in dataset.warnings:
            line.note(f"warning: {warning}")
        line.note(f"{dataset.describe()}; training on {describe(group.device)}")
        summaries = []
        for run, seed in zip(runs, seeds or [config.seed], strict=True):
            # of several seeds, those that had not begun begin now
            begun = resume and (seeds is None or run.config.is_file())
            outcome = _train_one(
                dataset, replace(config, seed=seed), run, group, line,
                resume=begun, overwrite=overwrite,
            )  # fmt: skip
            if outcome.interrupted:
                line.note(
                    f"stopped at iteration {outcome.iteration}: {run.last} is written, "
                    "continue with --resume"
                )
                return console.EXIT_INTERRUPTED
            if outcome.iteration < config.iterations:
                line.note(
                    f"stopped early at iteration {outcome.iteration}: {config.patience} "
                    "evaluations in a row without a better one"
                )
            if group.leads:
                best = outcome.best.iteration if outcome.best else None
                summaries.append(RunSummary.of(run, seed, config.select, best))
                if plot:
                    line.note(f"wrote {curves.draw_curves(run)}")
        if group.leads:
            document = json.dumps(to_document(summaries), indent=1)
            write_text(out / "summary.json", document + "\n")
            click.echo(document if as_json else to_table(summaries))
    return 0


def _train_one(
    dataset: Dataset,
    config: TrainConfig,
    run: RunFolder,
    group: Group,
    line: StatusLine,
    *,
    resume: bool,
    overwrite: bool,
) -> Outcome:
    data = TrainingData.of(dataset, config)
    if group.leads:
        run.create(resume=resume, overwrite=overwrite)
    # the others look for last.ckpt only when the folder is ready
    group.any(False)
    return train(data, config, run, group, line)


def _runs(out: Path | None, seeds: list[int] | None) -> list[RunFolder]:
    if out is None:
        return []
    if seeds is None:
        return [RunFolder(out)]
    return [RunFolder(out / f"seed-{seed}") for seed in seeds]


if __name__ == "__main__":
    main()
