"""The graph for live streams: any blocks, any start, and what its contract says."""

import numpy as np
import pytest
import torch

from co2net.data.dataset import open_dataset
from co2net_export.export import Exporter
from co2net_export.graph.live_model import LiveModel
from co2net_export.parity.videos import calibration_split
from co2net_export.precision.options import PrecisionOptions
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import InputError
from co2net_runtime.live.pool import LiveOptions, LivePool


@pytest.mark.parametrize("blocks", [[43], [1] * 43, [2, 5, 1, 30, 5]])
def test_blocks_give_the_whole_video(tiny, blocks):
    model = tiny.tiny_checkpoint().build()
    incremental = LiveModel(model)
    features = torch.rand(2, 40, 16)
    # beyond the end whatever the caller holds
    padded = torch.cat([features, torch.full((2, 3, 16), torch.nan)], dim=1)
    state = torch.zeros(2, 2, sum(incremental.widths))
    position, cas, attention = 0, [], []
    with torch.inference_mode():
        expected = model(features)
        for count in blocks:
            part = padded[:, position : position + count]
            at, length = torch.tensor([position] * 2), torch.tensor([40, 40])
            outputs = incremental(part, at, length, features.mean(1), state)
            cas.append(outputs[0])
            attention.append(outputs[1])
            state = outputs[2]
            position += count
    torch.testing.assert_close(torch.cat(cas, 1)[:, 3:], expected.cas, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        torch.cat(attention, 1)[:, 3:], expected.attention, rtol=0, atol=1e-5
    )


def test_written_graph_holds_the_prior_and_is_fp32_only(tiny, data, tmp_path):
    dataset = open_dataset(data)
    split = calibration_split(dataset)
    exporter = Exporter(
        tiny.tiny_checkpoint(), checkpoint_sha256="ab" * 32, dataset=dataset, split=split,
        quiet=True,
    )  # fmt: skip
    with pytest.raises(InputError, match="live streams is fp32, not fp16"):
        exporter.write(tmp_path / "m.onnx", PrecisionOptions(precision="fp16"), live=True)
    written = exporter.write(tmp_path / "m.onnx", live=True)
    assert [entry.path.name for entry in written] == ["m.onnx", "m.live.onnx"]
    means = [dataset.load_features(video.name).mean(axis=0) for video in split.calibration]
    contract = written[1].contract
    np.testing.assert_allclose(contract.context_prior, np.mean(means, axis=0), rtol=1e-5)
    pool = LivePool.load(
        tmp_path / "m.onnx",
        LiveOptions(context="prior"),
        engine=EngineOptions(device="cpu", threads=1),
    )
    assert pool.contract == contract
    pool.close()
