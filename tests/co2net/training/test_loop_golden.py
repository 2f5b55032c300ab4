"""Eight training steps of the full-size model against the published program's."""

import numpy as np
import torch

from co2net.config import NetworkOptions, TrainConfig
from co2net.data.dataset import open_dataset
from co2net.training.distributed import ProcessGroup
from co2net.training.train_step import Trainer
from co2net.training.training_data import TrainingData
from co2net.training.validation import evaluating, predict


def test_eight_steps_equal_golden(golden, golden_inputs, tmp_path):
    arrays = golden("training")
    golden_inputs.write_toy_bundle(str(tmp_path))
    dropless = NetworkOptions(stream_dropout=0.0, dropout=0.0)
    config = TrainConfig(max_snippets=64, select="last", model=dropless)
    data = TrainingData.of(open_dataset(tmp_path), config)
    trainer = Trainer(data.model_config(config), config, ProcessGroup(torch.device("cpu")))
    with torch.no_grad():
        for name, value in trainer.model.state_dict().items():
            value.copy_(torch.from_numpy(golden_inputs.parameter(name, tuple(value.shape))))
    sampler = data.sampler(config)
    losses = []
    for number in range(8):
        draw = sampler.draw()
        videos = [data.dataset.features(data.names[index]) for index in draw.videos]
        rows = [video[snippets] for video, snippets in zip(videos, draw.snippets, strict=True)]
        labels = torch.from_numpy(data.labels[draw.videos])
        losses.append(trainer.step(torch.from_numpy(np.stack(rows)), labels, number + 1)["total"])
    np.testing.assert_allclose(losses, arrays["losses"], rtol=2e-5)
    with evaluating(trainer.model):
        outputs = predict(trainer.model, data.dataset, data.evaluated[0].name)
    np.testing.assert_allclose(outputs.cas.numpy(), arrays["after_cas"], atol=1e-3)
    np.testing.assert_allclose(outputs.attention.numpy(), arrays["after_attn"], atol=1e-5)
