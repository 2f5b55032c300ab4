"""The program of the two processes in test_distributed; also imported there for one process.

torchrun ... distributed_worker.py DATA OUT [command]
"""

import os
import signal
import sys
from pathlib import Path

import torch

from co2net.config import TrainConfig
from co2net.data.dataset import open_dataset
from co2net.settings import apply_settings
from co2net.training.distributed import process_group
from co2net.training.loop import train
from co2net.training.progress import ProgressLine
from co2net.training.run_folder import RunFolder
from co2net.training.train_step import Trainer
from co2net.training.training_data import TrainingData

SETTINGS = ["model.attention_dim=4", "model.embed_dim=12", "max_snippets=20", "evaluate_every=0"]
NO_DROPOUT = ["model.dropout=0", "model.stream_dropout=0"]


def gradients(folder, group, rank, weights_seed):
    """Return the gradients after one backward on the batch that `rank` draws."""
    config = apply_settings([*SETTINGS, *NO_DROPOUT], TrainConfig())
    data = TrainingData.of(open_dataset(folder), config)
    torch.manual_seed(weights_seed)
    trainer = Trainer(data.model_config(config), config, group)
    draw = data.sampler(config, rank).draw()
    rows = [
        torch.from_numpy(data.dataset.features(data.names[video])[snippets])
        for video, snippets in zip(draw.videos, draw.snippets, strict=True)
    ]
    labels = torch.from_numpy(data.labels[draw.videos])
    trainer.backward(trainer.forward(torch.stack(rows), labels)["total"])
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters()}


def run(folder, out, iterations, group):
    config = apply_settings([*SETTINGS, f"iterations={iterations}"], TrainConfig())
    data = TrainingData.of(open_dataset(folder), config)
    train(data, config, RunFolder(out), group, ProgressLine(quiet=True))


def command(folder, out):
    """Run co2net-train for 6 iterations; when first started, rank 1 is killed in the fifth."""
    from co2net.cli.train import main

    stepped = Trainer.step

    def step(trainer, features, labels, iteration):
        dies = os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if dies and iteration == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return stepped(trainer, features, labels, iteration)

    Trainer.step = step
    settings = [*SETTINGS, "iterations=6", "checkpoint_every=3"]
    options = [part for setting in settings for part in ("--set", setting)]
    main([folder, "--out", str(out), "--device", "cpu", "--threads", "1", "--quiet", *options])


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, out = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3:] == ["command"]:
        command(folder, out)
    with process_group(torch.device("cpu")) as group:
        # rank 0's weights count, whatever the others began with
        found = gradients(folder, group, group.rank, weights_seed=group.rank)
        if group.is_main:
            torch.save(found, out / "gradients.pt")
        run(folder, out / "whole", 6, group)
        run(folder, out / "parts", 3, group)
        run(folder, out / "parts", 6, group)
