"""How fast is training? `python benchmarks/studies/training_speed.py` prints it as Markdown.

The parts of co2net.training.loop and the published loop, transcribed plainly, take turns in one
process on the same random features, so that the ratio survives a noisy machine.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch

from co2net.config import NetworkOptions, TrainConfig
from co2net.data.annotations import Annotations, Video
from co2net.data.dataset import open_dataset
from co2net.data.layout import prepare_layout, write_features, write_layout_annotations
from co2net.model import CO2Net
from co2net.training.batches import BatchLoader
from co2net.training.distributed import ProcessGroup
from co2net.training.train_step import Trainer
from co2net.training.training_data import TrainingData
from co2net_benchmarks.published.training import (
    PublishedSampler,
    published_loss,
    published_optimizer,
)
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio
from co2net_runtime.cli import console
from co2net_runtime.options import SnippetTiming

PARTS = ("data", "forward", "backward", "optimizer")
CLASSES, VIDEOS = 20, 60
LENGTHS = (100, 700)

Split = dict[str, float]


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds of an iteration, ours and the transcription's, and of its parts.

    ratio: ours over theirs, turn by turn; below 1 is faster. split, published_split: medians of
    the parts. data_share: what waiting for data takes of our iteration.
    """

    seconds: Interval
    published_s: Interval
    ratio: Interval
    split: Split
    published_split: Split

    @property
    def data_share(self) -> float:
        """Share of our iteration that waits for data."""
        return self.split["data"] / self.seconds.median


@dataclass(frozen=True)
class Workload:
    """The shapes of the batch; the defaults are THUMOS14's at T = 320, batch 10."""

    snippets: int = 320
    rgb_dim: int = 1024
    flow_dim: int = 1024
    network: NetworkOptions = field(default_factory=NetworkOptions)


def measure(workload: Workload, rounds: int, iterations: int) -> TrainingSpeed:
    """Time `rounds` turns of `iterations` iterations each, after one turn of warm-up."""
    config = TrainConfig(
        max_snippets=workload.snippets, model=workload.network, select="last", seed=0
    )
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder), workload, config) as own:
        published = theirs(Path(folder), config)
        turns: dict[str, list[list[Split]]] = {"ours": [], "published": []}
        for _ in range(rounds + 1):
            for name, iterate in (("ours", own), ("published", published)):
                turns[name].append([iterate() for _ in range(iterations)])
    seconds = {
        name: [[sum(split.values()) for split in turn] for turn in own_turns[1:]]
        for name, own_turns in turns.items()
    }
    splits = {
        name: {
            part: median_interval([s[part] for turn in own_turns[1:] for s in turn]).median
            for part in PARTS
        }
        for name, own_turns in turns.items()
    }
    medians = {
        name: median_interval([value for turn in own_turns for value in turn])
        for name, own_turns in seconds.items()
    }
    return TrainingSpeed(
        medians["ours"],
        medians["published"],
        paired_ratio(seconds["ours"], seconds["published"]),
        splits["ours"],
        splits["published"],
    )


@contextmanager
def ours(folder: Path, workload: Workload, config: TrainConfig) -> Iterator[Callable[[], Split]]:
    """Yield a function that trains one iteration as the loop does, and times its parts."""
    write_random_dataset(folder, workload)
    data = TrainingData.of(open_dataset(folder), config)
    torch.manual_seed(config.seed)
    trainer = Trainer(data.model_config(config), config, ProcessGroup(torch.device("cpu")))
    loader = BatchLoader(data.sampler(config), data.names, data.labels, data.dataset.features)
    with loader as batches:

        def iterate() -> Split:
            clock = Clock()
            batch = next(batches)
            clock.lap("data")
            trainer.optimizer.zero_grad(set_to_none=True)
            terms = trainer.forward(batch.features, batch.labels)
            clock.lap("forward")
            norm = trainer.backward(terms["total"])
            norm.item()
            clock.lap("backward")
            trainer.update(norm, config.learning_rate)
            clock.lap("optimizer")
            return clock.laps

        yield iterate


def theirs(folder: Path, config: TrainConfig) -> Callable[[], Split]:
    """Return a function that trains one iteration as the transcription does."""
    data = TrainingData.of(open_dataset(folder), config)
    features = [np.array(data.dataset.features(name)) for name in data.names]
    sampler = PublishedSampler(features, data.labels, config.max_snippets, config.seed)
    torch.manual_seed(config.seed)
    model = CO2Net(data.model_config(config)).train()
    optimizer = published_optimizer(model)

    def iterate() -> Split:
        clock = Clock()
        rows, labels = sampler.batch()
        inputs, targets = torch.from_numpy(rows).float(), torch.from_numpy(labels).float()
        clock.lap("data")
        loss = published_loss(model(inputs), targets)
        clock.lap("forward")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        clock.lap("backward")
        optimizer.step()
        clock.lap("optimizer")
        return clock.laps

    return iterate


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: Split = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the part `name`."""
        now = time.perf_counter()
        self.laps[name], self._since = now - self._since, now


def write_random_dataset(folder: Path, workload: Workload) -> None:
    """Write a dataset of random features; its labels mean nothing."""
    random = np.random.default_rng(0)
    prepare_layout(folder, overwrite=True)
    videos = []
    for number in range(VIDEOS):
        name, length = f"video{number:03}", int(random.integers(*LENGTHS))
        shape = (length, workload.rgb_dim + workload.flow_dim)
        write_features(folder, name, random.random(shape, dtype=np.float32), "float32")
        videos.append(
            Video(
                name=name,
                subset="train" if number else "test",
                duration_s=None,
                labels=(number % CLASSES,),
                segments=np.array([[0.0, 1.0]]),
                segment_labels=np.array([number % CLASSES]),
                ambiguous=np.zeros((0, 2)),
            )
        )
    annotations = Annotations(tuple(f"class{c:02}" for c in range(CLASSES)), tuple(videos))
    write_layout_annotations(
        folder, annotations, SnippetTiming(), workload.rgb_dim, workload.flow_dim
    )


def speed_table(speed: TrainingSpeed, workload: Workload) -> Table:
    """Return the figures as a table."""
    rows = [
        ("co2net.training.loop", speed.seconds, speed.split),
        ("transcription", speed.published_s, speed.published_split),
    ]
    return Table(
        f"Seconds of a training iteration, batch 10, T = {workload.snippets}",
        ("loop", "iteration", *PARTS),
        tuple(
            (name, f"{total.median:.3f}", *(f"{split[part]:.4f}" for part in PARTS))
            for name, total, split in rows
        ),
        (
            f"co2net.training.loop takes {speed.ratio.median:.3f} times the transcription "
            f"({speed.ratio.low:.3f} to {speed.ratio.high:.3f}); waiting for data is "
            f"{100 * speed.data_share:.2f} % of its iteration.",
            f"Medians; {torch.get_num_threads()} threads, torch {torch.__version__}. The two take "
            "turns in one process. Forward includes the loss, backward the gradient norm that "
            "co2net.training.loop records and the transcription does not.",
        ),
    )


@click.command("training-speed", cls=console.Command)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--iterations", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--snippets", default=320, show_default=True, type=click.IntRange(min=1))
def main(rounds: int, iterations: int, snippets: int) -> None:
    """Time training against a plain transcription of the published loop, full size, on the CPU.

    Example: python benchmarks/studies/training_speed.py --rounds 10
    """
    workload = Workload(snippets=snippets)
    click.echo(speed_table(measure(workload, rounds, iterations), workload).to_markdown())


if __name__ == "__main__":
    main()
