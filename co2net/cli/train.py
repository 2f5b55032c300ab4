"""co2net-train: a dataset -> checkpoints.

torch takes seconds to import: train_job does so, inside the command, so that --help answers at
once and Ctrl-C while it loads ends in one line.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from co2net.cli.dataset_options import DATASET_GROUPS
from co2net.cli.dataset_options import dataset_options as takes_dataset
from co2net.config import PRESETS, Select, TrainConfig
from co2net.data.dataset import DatasetOptions
from co2net.settings import apply_settings, dump_config, read_config
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import MOST_THREADS

EPILOG = """
\b
Examples:
  co2net-train thumos14/ --out runs/a
  co2net-train thumos14/ --out runs/a --resume
  co2net-train data/ --out runs/b --set iterations=1000 --set max_snippets=320
  co2net-train data/ --out runs/c --config runs/b/config.yaml --seeds 1,2,3
  co2net-train --preset activitynet1.2 --print-config
  torchrun --nproc-per-node 4 -m co2net.cli.train data/ --out runs/d

\b
Exit codes: 0 done; 2 wrong use, input that cannot be used, or a failed training
(last.ckpt stays); 130 stopped by Ctrl-C or SIGTERM with last.ckpt written.
"""

DEFAULT_PRESET = "thumos14"


def _seeds(_context: click.Context, _option: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter("expected numbers separated by commas") from error
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise click.BadParameter("a seed must lie in [0, 2^32)")
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter("a seed occurs twice")
    return seeds


OPTION_GROUPS = {
    "Settings": "--preset --config --set --print-config --select --seeds",
    **DATASET_GROUPS,
}


@click.command("co2net-train", cls=console.Command, epilog=EPILOG, option_groups=OPTION_GROUPS)
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
@click.option(
    "--print-config",
    is_flag=True,
    help="Print the settings as YAML, each with its meaning, and stop.",
)
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
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    metavar="N",
    help="CPU threads per operation; sums round differently with another number.  "
    "[default: torch's choice]",
)
@click.option(
    "--log-to",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    help="Where curves are shown besides RUN/metrics.jsonl. Repeatable.  "
    "[default: tensorboard where it is installed]",
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
    threads: int | None,
    resume: bool,
    overwrite: bool,
    log_to: tuple[str, ...],
    plot: bool,
    as_json: bool,
    quiet: bool,
    dataset_options: DatasetOptions,
) -> int:
    """Train CO2-Net on DATA, a folder of features and annotations, into RUN.

    RUN gets config.yaml, metrics.jsonl, environment.jsonl, TensorBoard events, last.ckpt and,
    unless --select last, best.ckpt. Ctrl-C writes last.ckpt first; --resume continues from it.
    A process that torchrun --max-restarts starts again continues by itself.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    stored = _stored_config(out, seeds) if resume else None
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
    from co2net.cli.train_job import TrainJob

    return TrainJob(
        data=data,
        dataset_options=dataset_options,
        out=out,
        config=config,
        seeds=seeds,
        device=device,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        plot=plot,
        as_json=as_json,
        quiet=quiet,
        log_to=log_to,
    ).run()


def _stored_config(out: Path | None, seeds: Sequence[int] | None) -> Path | None:
    if out is None:
        return None
    folders = [out] if seeds is None else [out / f"seed-{seed}" for seed in seeds]
    return next((each for f in folders if (each := f / "config.yaml").is_file()), None)


if __name__ == "__main__":
    main()
