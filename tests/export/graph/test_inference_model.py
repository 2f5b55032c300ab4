import numpy as np
import pytest
import torch

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_export.graph.inference_model import InferenceModel


@pytest.mark.parametrize(
    ("variant", "classes", "pool_kernel"), [("co2", 20, 1), ("ant_co2", 100, 13)]
)
def test_meets_the_golden_arrays_in_a_padded_batch(
    variant, classes, pool_kernel, golden, golden_inputs
):
    arrays = golden(f"forward_{variant}")
    model = CO2Net(ModelConfig(classes=classes, pool_kernel=pool_kernel))
    weights = {
        name: torch.from_numpy(golden_inputs.parameter(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(weights)
    adapter = InferenceModel(model.eval())
    cases = sorted({name.rsplit("_", 1)[0] for name in arrays if name.endswith("_cas")})
    for case in cases:
        batch, length = (int(part[1:]) for part in case.split("_"))
        features = torch.full((batch, length + 5, 2048), torch.nan)
        features[:, :length] = torch.from_numpy(golden_inputs.features(batch, length))
        with torch.inference_mode():
            cas, attention = adapter(features, torch.full((batch,), length))
        assert np.abs(cas[:, :length].numpy() - arrays[f"{case}_cas"]).max() <= 1e-5, case
        assert np.abs(attention[:, :length].numpy() - arrays[f"{case}_attn"]).max() <= 1e-5, case
        assert not cas[:, length:].any()
        assert not attention[:, length:].any()


@pytest.mark.parametrize("pool_kernel", [1, 5])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30, 0.0])
def test_padding_changes_nothing(tiny, pool_kernel, garbage):
    model = tiny.tiny_checkpoint(pool_kernel).build()
    adapter = InferenceModel(model)
    lengths = [9, 1, 3, 2, 0]
    features = torch.rand(len(lengths), 12, 16, generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(lengths):
        features[row, length:] = garbage
    with torch.inference_mode():
        cas, attention = adapter(features, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            assert not cas[row, length:].any()
            assert not attention[row, length:].any()
            if length:
                alone = model(features[row : row + 1, :length])
                torch.testing.assert_close(cas[row, :length], alone.cas[0], rtol=0, atol=1e-6)
                torch.testing.assert_close(
                    attention[row, :length], alone.attention[0], rtol=0, atol=1e-6
                )


def test_dead_weights_are_gone(tiny):
    model = tiny.tiny_checkpoint().build()
    adapter = InferenceModel(model)
    dead = sum(
        2 * module.channel_conv[0].weight[:, :, 1].numel() for module in (model.vAttn, model.fAttn)
    )
    count = sum(value.numel() for value in adapter.parameters())
    assert count == sum(value.numel() for value in model.parameters()) - dead


def test_context_replaces_the_mean(tiny):
    adapter = InferenceModel(tiny.tiny_checkpoint().build())
    features, lengths = torch.rand(2, 8, 16), torch.tensor([8, 5])
    mean = torch.stack(
        [row[:length].mean(0) for row, length in zip(features, lengths, strict=True)]
    )
    with torch.inference_mode():
        for ours, given in zip(
            adapter(features, lengths), adapter(features, lengths, mean), strict=True
        ):
            torch.testing.assert_close(ours, given, rtol=0, atol=1e-6)
        other = adapter(features, lengths, mean + 1)
    assert (other[0] - given.new_zeros(1)).abs().sum() > 0
    assert not torch.allclose(other[1], adapter(features, lengths)[1])
