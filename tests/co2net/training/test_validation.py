import pytest
import torch

from co2net.config import LossOptions, ModelConfig
from co2net.data.dataset import open_dataset
from co2net.model import CO2Net
from co2net.training.validation import predict, score_labels
from co2net_runtime.errors import InputError

MODEL = ModelConfig(classes=3, rgb_dim=6, flow_dim=10, attention_dim=4, embed_dim=12)


def test_a_loss_that_is_not_finite_names_the_file(tiny, monkeypatch):
    dataset = open_dataset(tiny.folder)
    videos = dataset.videos("train")[:2]
    nan = torch.tensor(torch.nan)
    monkeypatch.setattr("co2net.training.validation.co2_loss", lambda *_, **__: {"total": nan})
    with pytest.raises(InputError, match=r"video00\.npy: the loss .* not finite"):
        score_labels(CO2Net(MODEL), dataset, videos, LossOptions())


def test_evaluation_runs_the_plain_network(tiny):
    """Not what torch.compile made of it for training, which would be built for each length."""
    model = CO2Net(MODEL)

    def refused(graph, inputs):
        raise AssertionError("compiled")

    model.compile(backend=refused)
    assert predict(model, open_dataset(tiny.folder), "video00").cas.shape[2] == 4
