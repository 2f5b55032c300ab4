"""How fast is training? `python benchmarks/studies/training_speed.py` prints it as Markdown.

The parts of co2net.training.loop and the published loop, transcribed plainly, take turns in one
process on the same random features, so that the ratio survives a noisy machine. The transcription
follows the method, sections 2 and 3, with a loop wherever the method speaks of one snippet, one
pair, one class at a time; of co2net it uses the network alone, so it is also an oracle of tests.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from co2net.config import NetworkOptions, TrainConfig
from co2net.data.annotations import Annotations, Video
from co2net.data.dataset import open_dataset
from co2net.data.layout import prepare_layout, write_features, write_layout_annotations
from co2net.model import CO2Net, Outputs
from co2net.training.batches import BatchLoader
from co2net.training.distributed import ProcessGroup
from co2net.training.train_step import Trainer
from co2net.training.training_data import TrainingData
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio
from co2net_runtime.cli import console
from co2net_runtime.options import SnippetTiming

PARTS = ("data", "forward", "backward", "optimizer")
CLASSES, VIDEOS = 20, 60
LENGTHS = (100, 700)

Split = dict[str, float]
Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainingSpeed:
    """Seconds of an iteration, ours and the transcription's, and of its parts."""

    seconds: Interval
    published_s: Interval
    ratio: Interval  # ours over theirs, turn by turn; below 1 is faster
    split: Split  # medians of the parts
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


class PublishedSampler:
    """Draws batches of `snippets` rows from videos: features (T, D), multi-hot labels (N, C)."""

    def __init__(
        self, features: list[Features], labels: npt.NDArray[np.float32], snippets: int, seed: int
    ) -> None:
        self._features, self._labels, self._snippets = features, labels, snippets
        self._random = np.random.RandomState(seed)
        self._members = [np.where(column > 0)[0] for column in labels.T]

    def batch(self) -> tuple[Features, npt.NDArray[np.float32]]:
        """Return features (10, S, D) and labels (10, C): three pairs, then four random videos."""
        videos: list[int] = []
        for chosen in self._random.choice(len(self._members), size=3):
            members = self._members[chosen]
            for index in self._random.choice(len(members), size=2, replace=False):
                videos.append(members[index])
        for index in self._random.choice(len(self._features), size=4):
            videos.append(index)
        rows = [self._features[video][self._resample(video)] for video in videos]
        return np.array(rows), np.array([self._labels[video] for video in videos])

    def _resample(self, video: int) -> list[int]:
        length, target = len(self._features[video]), self._snippets
        if length == target:
            return list(range(length))
        positions = [i * length / target for i in range(target)]
        picked = []
        for i in range(target):
            start = int(positions[i])
            end = int(positions[i + 1]) + 1 if i < target - 1 else length
            more = end - 1 > start
            picked.append(int(self._random.choice(range(start, end))) if more else start)
        return picked


def published_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the total loss of a batch with labels (B, C), at the published weights."""
    cas, attention = outputs.cas, outputs.attention
    lowest = cas.min(dim=-1, keepdim=True)[0]
    suppressed = attention * (cas - lowest) + lowest
    return (
        _mil(cas, labels, 1.0)
        + _mil(suppressed, labels, 0.0)
        + _contrastive(outputs.feat, suppressed, labels)
        + _mutual(outputs.rgb_attention, outputs.flow_attention)
        + 0.8 * _norm(outputs)
        + 0.8 * _guide(outputs)
    )


def _mil(logits: Tensor, labels: Tensor, background: float) -> Tensor:
    target = torch.cat([labels, background * torch.ones_like(labels[:, :1])], dim=-1)
    target = target / (target.sum(dim=1, keepdim=True) + 1e-4)
    top, _ = torch.topk(logits, k=max(1, logits.shape[1] // 7), dim=1)
    return -(target * functional.log_softmax(top.mean(dim=1), dim=-1)).sum(dim=-1).mean()


def _contrastive(feat: Tensor, suppressed: Tensor, labels: Tensor) -> Tensor:
    total, count = torch.zeros(()), 0
    for first in (0, 2, 4):
        second, length = first + 1, feat.shape[1]
        weights = [functional.softmax(suppressed[i], dim=0) for i in (first, second)]
        high = [feat[i].T @ w for i, w in zip((first, second), weights, strict=True)]
        low = [
            feat[i].T @ ((1 - w) / max(length - 1, 1))
            for i, w in zip((first, second), weights, strict=True)
        ]
        alike = _distance(high[0], high[1])
        unlike = _distance(high[0], low[1]), _distance(high[1], low[0])
        for c in range(labels.shape[1]):
            if labels[first, c] > 0 and labels[second, c] > 0:
                for other in unlike:
                    total = total + 0.5 * torch.clamp(alike[c] - other[c] + 0.5, min=0)
                count += 1
    return total / max(count, 1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.square().sum(dim=0).sqrt() * b.square().sum(dim=0).sqrt()
    return 1 - (a * b).sum(dim=0) / lengths


def _mutual(rgb: Tensor, flow: Tensor) -> Tensor:
    return 0.5 * functional.mse_loss(rgb, flow.detach()) + 0.5 * functional.mse_loss(
        flow, rgb.detach()
    )


def _norm(outputs: Outputs) -> Tensor:
    return (
        outputs.attention.mean() + outputs.rgb_attention.mean() + outputs.flow_attention.mean()
    ) / 3


def _guide(outputs: Outputs) -> Tensor:
    background = functional.softmax(outputs.cas, dim=-1)[..., -1:]
    errors = [
        torch.abs(1 - z - background).mean()
        for z in (outputs.attention, outputs.rgb_attention, outputs.flow_attention)
    ]
    return (errors[0] + errors[1] + errors[2]) / 3


def published_optimizer(model: CO2Net) -> torch.optim.Optimizer:
    """Return Adam as THUMOS14 is trained."""
    return torch.optim.Adam(model.parameters(), lr=5e-5, weight_decay=1e-3)


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
