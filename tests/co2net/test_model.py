import numpy as np
import pytest
import torch

from co2net.config import ModelConfig
from co2net.model import CO2Net


@pytest.mark.parametrize(
    ("variant", "classes", "pool_kernel"), [("co2", 20, 1), ("ant_co2", 100, 13)]
)
def test_forward_equals_golden(variant, classes, pool_kernel, golden, golden_inputs):
    arrays = golden(f"forward_{variant}")
    model = CO2Net(ModelConfig(classes=classes, pool_kernel=pool_kernel)).eval()
    model.load_state_dict(golden_weights(model, golden_inputs))
    cases = sorted({name.rsplit("_", 1)[0] for name in arrays if name.endswith("_cas")})
    assert cases
    for case in cases:
        batch, length = (int(part[1:]) for part in case.split("_"))
        features = torch.from_numpy(golden_inputs.features(batch, length))
        with torch.no_grad():
            outputs = model(features)
        for name, value in {
            "cas": outputs.cas,
            "attn": outputs.attention,
            "v_atn": outputs.rgb_attention,
            "f_atn": outputs.flow_attention,
            "feat64": outputs.feat[..., ::64],
        }.items():
            assert np.abs(value.numpy() - arrays[f"{case}_{name}"]).max() <= 1e-5, (case, name)


def golden_weights(model, golden_inputs):
    return {
        name: torch.from_numpy(golden_inputs.parameter(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
    }


def test_other_widths():
    config = ModelConfig(classes=3, rgb_dim=6, flow_dim=10, attention_dim=4, embed_dim=12)
    outputs = CO2Net(config).eval()(torch.rand(2, 7, 16))
    assert outputs.cas.shape == (2, 7, 4)
    assert outputs.attention.shape == (2, 7, 1)
    assert outputs.feat.shape == (2, 7, 12)


def test_initial_biases_are_zero_and_weights_follow_kaiming():
    torch.manual_seed(0)
    model = CO2Net(ModelConfig(classes=3, rgb_dim=32, flow_dim=32, attention_dim=16, embed_dim=64))
    for name, value in model.state_dict().items():
        if name.endswith("bias"):
            assert torch.count_nonzero(value) == 0, name
        else:
            bound = (6 / (value.shape[1] * value.shape[2])) ** 0.5
            assert value.abs().max() <= bound, name
            if value.numel() > 500:
                assert value.std() == pytest.approx(bound / 3**0.5, rel=0.1), name


@pytest.mark.parametrize(
    ("kernel", "reason"), [(0, "at least 1"), (2, "odd and positive"), (-1, "at least 1")]
)
def test_config_refuses_a_pooling_kernel_that_is_not_odd(kernel, reason):
    with pytest.raises(ValueError, match=reason):
        ModelConfig(classes=3, pool_kernel=kernel)
