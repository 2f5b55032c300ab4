import json
import shutil

import pytest
import torch

from co2net.config import LossOptions, ModelConfig, TrainConfig
from co2net.data.dataset import open_dataset
from co2net.model import CO2Net
from co2net.training.validation import predict, score_detection, score_labels
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


def test_videos_of_another_frame_rate_are_timed_at_their_own(tiny, tmp_path):
    """At twice the rate and half the seconds the snippets, and so the mAP, are the same."""
    shutil.copytree(tiny.folder, tmp_path / "data")
    file = tmp_path / "data" / "annotations.json"
    document = json.loads(file.read_text())
    for number, entry in enumerate(document["database"].values()):
        entry["fps"] = 25.0
        if number % 2:
            entry["fps"] = 50.0
            entry["duration"] /= 2
            for record in entry["annotations"]:
                record["segment"] = [second / 2 for second in record["segment"]]
    file.write_text(json.dumps(document))
    torch.manual_seed(0)
    model, found = CO2Net(MODEL), []
    for folder in (tiny.folder, tmp_path / "data"):
        dataset = open_dataset(folder)
        videos = dataset.videos("test")
        found.append(score_detection(model, dataset, "test", videos, TrainConfig()).map)
    assert found[0] == found[1]
    assert found[0][0] > 0
