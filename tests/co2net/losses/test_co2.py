import pytest
import torch

from co2net.config import LossOptions
from co2net.losses.co2 import co2_loss, contrastive, suppress
from co2net.model import Outputs


@pytest.mark.parametrize("case", [0, 1, 2])
def test_terms_and_gradients_equal_golden(case, golden):
    arrays = {
        name.removeprefix(f"{case}_"): torch.from_numpy(value.copy())
        for name, value in golden("loss").items()
        if name.startswith(f"{case}_")
    }
    inputs = {n: arrays[n].clone().requires_grad_() for n in ("feat", "cas", "v_atn", "f_atn")}
    rgb, flow = inputs["v_atn"], inputs["f_atn"]
    outputs = Outputs(inputs["feat"], inputs["cas"], (rgb + flow) / 2, rgb, flow)
    terms = co2_loss(outputs, arrays["labels"], LossOptions(), pairs=3)
    for name, value in terms.items():
        torch.testing.assert_close(value.detach(), arrays[name], rtol=1e-5, atol=1e-6)
    assert len(terms) == 7
    terms["total"].backward()
    for name, value in inputs.items():
        torch.testing.assert_close(value.grad, arrays[f"grad_{name}"], rtol=1e-4, atol=1e-6)


def test_contrastive_equals_the_definition_pair_by_pair():
    torch.manual_seed(0)
    feat, cas, attention = torch.rand(7, 9, 5), torch.randn(7, 9, 5), torch.rand(7, 9, 1)
    labels = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 0]] + [[1] * 4] * 3)
    suppressed = suppress(cas, attention)
    losses = []
    for first in (0, 2):
        high, low = [], []
        for video in (first, first + 1):
            weights = suppressed[video].softmax(dim=0)
            high.append(feat[video].T @ weights)
            low.append(feat[video].T @ (1 - weights) / 8)
        for c in range(4):
            if labels[first, c] and labels[first + 1, c]:

                def distance(a, b, c=c):
                    return 1 - a[:, c] @ b[:, c] / (a[:, c].norm() * b[:, c].norm())

                alike = distance(high[0], high[1])
                losses.append(
                    0.5 * max(alike - distance(high[0], low[1]) + 0.5, 0)
                    + 0.5 * max(alike - distance(high[1], low[0]) + 0.5, 0)
                )
    assert len(losses) == 4
    result = contrastive(feat, suppressed, labels.float(), pairs=2)
    torch.testing.assert_close(result, torch.stack(losses).mean())


def test_contrastive_without_a_shared_class_is_zero_and_passes_no_gradient():
    feat = torch.zeros(2, 4, 3, requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = contrastive(feat, torch.zeros(2, 4, 3), labels, pairs=1)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(feat.grad, torch.zeros_like(feat))
