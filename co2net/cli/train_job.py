"""The work of co2net-train: one run, or one for each seed."""

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch

from co2net.config import TrainConfig
from co2net.data.dataset import Dataset, DatasetOptions, open_dataset
from co2net.results import curves
from co2net.results.summary import RunSummary, to_document, to_table
from co2net.training.best import undecided_note
from co2net.training.devices import describe_device, resolve_device
from co2net.training.distributed import ProcessGroup, process_group, restarted_by_torchrun
from co2net.training.loggers import require_packages
from co2net.training.loop import TrainResult, train
from co2net.training.progress import ProgressLine
from co2net.training.run_folder import RunFolder
from co2net.training.training_data import TrainingData
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import write_text


@dataclass(frozen=True)
class TrainJob:
    """The arguments of co2net-train, checked and merged."""

    data: Path  # the dataset
    dataset_options: DatasetOptions
    out: Path  # folder of the run; with seeds, of a folder for each
    config: TrainConfig
    seeds: list[int] | None  # None: one run with the config's seed
    device: str  # auto, cpu, cuda or mps
    threads: int | None  # of torch on the CPU; None leaves torch's choice
    resume: bool
    overwrite: bool
    plot: bool  # draw curves.png
    as_json: bool  # print the result as JSON
    quiet: bool
    log_to: tuple[str, ...]  # loggers; empty: TensorBoard where it is installed

    def run(self) -> int:
        """Train and print the result; return the exit code."""
        if self.plot:
            curves.require_matplotlib()
        require_packages(self.log_to)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        dataset = open_dataset(self.data, self.dataset_options)
        with process_group(device) as group:
            line = ProgressLine(quiet=self.quiet or not group.is_main)
            for warning in dataset.warnings:
                line.note(f"warning: {warning}")
            line.note(f"{dataset.describe()}; training on {describe_device(group.device)}")
            summaries = []
            for seed in self.seeds or [self.config.seed]:
                run = RunFolder(self.out if self.seeds is None else self.out / f"seed-{seed}")
                config = replace(self.config, seed=seed)
                result = self._train(dataset, config, run, group, line)
                if result.interrupted:
                    line.note(
                        f"stopped at iteration {result.iteration}: {run.last} is written, "
                        "continue with --resume"
                    )
                    return console.EXIT_INTERRUPTED
                if group.is_main:
                    best = result.best.iteration if result.best else None
                    summaries.append(RunSummary.of(run, seed, config.select, best))
                    self._conclude(result, run, line)
            if group.is_main:
                document = json.dumps(to_document(summaries), indent=1)
                write_text(self.out / "summary.json", document + "\n")
                click.echo(document if self.as_json else to_table(summaries))
        return 0

    def _train(
        self,
        dataset: Dataset,
        config: TrainConfig,
        run: RunFolder,
        group: ProcessGroup,
        line: ProgressLine,
    ) -> TrainResult:
        data = TrainingData.of(dataset, config)
        # a restarted process has the arguments of the first start; of several seeds, those that
        # had not begun begin now
        restarted = restarted_by_torchrun()
        is_begun = run.config.is_file()
        resume = is_begun if restarted else self.resume and (self.seeds is None or is_begun)
        opened = run.open(resume=resume, overwrite=self.overwrite and not restarted)
        with opened if group.is_main else nullcontext():
            # the others look for last.ckpt only once the folder is prepared
            group.any(False)
            return train(data, config, run, group, line, self.log_to)

    def _conclude(self, result: TrainResult, run: RunFolder, line: ProgressLine) -> None:
        if result.iteration < self.config.iterations:
            line.note(
                f"stopped early at iteration {result.iteration}: {self.config.patience} "
                "evaluations in a row without a better one"
            )
        if self.config.select == "best-on-holdout" and (note := undecided_note(run.read_metrics())):
            line.note(f"note: {note}")
        if self.plot:
            line.note(f"wrote {curves.draw_curves(run)}")
