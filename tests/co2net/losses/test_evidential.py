import pytest
import torch

from co2net.config import LossOptions
from co2net.losses.co2 import co2_loss
from co2net.losses.evidential import class_evidence, guide_weights, uncertainty, video_term
from co2net.losses.objective import loss_terms
from co2net.model import Outputs


def random_outputs():
    torch.manual_seed(0)
    rgb, flow = torch.rand(4, 9, 1), torch.rand(4, 9, 1)
    values = [torch.rand(4, 9, 6), torch.randn(4, 9, 4), (rgb + flow) / 2, rgb, flow]
    return Outputs(*(value.requires_grad_() for value in values))


LABELS = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1]])


def test_without_its_terms_it_is_co2():
    outputs = random_outputs()
    options = LossOptions(strategy="evidential", evidential_weight=0.0, guide_amplitude=0.0)
    terms = loss_terms(outputs, LABELS, options, pairs=2, progress=0.3)
    expected = co2_loss(outputs, LABELS, LossOptions(), pairs=2)
    torch.testing.assert_close(terms["total"], expected["total"])
    torch.testing.assert_close(terms["guide"], expected["guide"])


def test_every_output_gets_a_finite_gradient():
    outputs = random_outputs()
    options = LossOptions(strategy="evidential")
    loss_terms(outputs, LABELS, options, pairs=2, progress=0.3)["total"].backward()
    for value in (outputs.feat, outputs.cas, outputs.rgb_attention, outputs.flow_attention):
        assert torch.isfinite(value.grad).all()
        assert value.grad.abs().sum() > 0


def test_video_term_falls_with_evidence_for_the_labels():
    attention = torch.tensor([0.9, 0.1, 0.1]).reshape(1, 3, 1)
    labels = torch.tensor([[1.0, 0.0]])
    evidence = torch.ones(1, 3, 2)
    by_hand = torch.log(torch.tensor(4.0)) - torch.log(torch.tensor(2.0))
    torch.testing.assert_close(video_term(evidence, attention, labels, 3), by_hand)
    attended, ignored = evidence.clone(), evidence.clone()
    attended[0, 0, 0] = 5
    ignored[0, 1, 0] = 5
    assert video_term(attended, attention, labels, 3) < by_hand
    torch.testing.assert_close(video_term(ignored, attention, labels, 3), by_hand)


def test_evidence_is_finite_for_any_logits_and_lowers_uncertainty():
    cas = torch.tensor([[[-1e4, 0.0, 9.0], [3.0, 1e4, 0.0]]])
    evidence = class_evidence(cas)
    assert torch.isfinite(evidence).all()
    assert evidence.shape == (1, 2, 2)
    few, many = uncertainty(evidence)[0]
    assert 0 < many < few < 1


@pytest.mark.parametrize(("progress", "favoured"), [(0.0, 2), (1.0, 1)])
def test_guide_goes_from_certain_to_uncertain_snippets(progress, favoured):
    weights = guide_weights(torch.tensor([[0.5, 0.9, 0.1]]), progress, 0.7)
    assert weights.argmax() == favoured
    assert weights.mean() == pytest.approx(1)
    assert (weights > 0).all()
    level = guide_weights(torch.tensor([[0.5, 0.9, 0.1]]), 0.5, 0.7)
    torch.testing.assert_close(level, torch.ones(1, 3))
