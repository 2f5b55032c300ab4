"""An evidential loss after DELU (Chen et al., ECCV 2022), with the network of CO2-Net.

Logits become evidence for classes, evidence the parameters of a Dirichlet distribution, and its
spread an uncertainty. Two ideas are taken from the paper: a video-level evidential term besides
the usual multiple-instance ones, and snippet-level uncertainty that orders what the guide term
attends to, from the certain to the uncertain as training proceeds. The inference graph does not
change. This is written from the paper's ideas, not from its program, and its reported 46.4
average mAP on THUMOS14 has not been reproduced with it.
"""

from dataclasses import replace

import torch
from torch import Tensor

from co2net.config import LossOptions
from co2net.losses.co2 import co2_loss, guide_errors
from co2net.model import Outputs

# exp(10) = 22026 pieces of evidence are as good as certain; more would only overflow
LOGIT_BOUND = 10.0
EPSILON = 1e-8


def evidential_loss(
    outputs: Outputs, labels: Tensor, options: LossOptions, *, pairs: int, progress: float
) -> dict[str, Tensor]:
    """Return the terms of `co2_loss` with "guide" reweighted, "evidential" and the "total".

    labels: (B, C) float. progress: share of the training that is done, in [0, 1].
    """
    terms = co2_loss(outputs, labels, replace(options, guide_weight=0.0), pairs=pairs)
    evidence = class_evidence(outputs.cas.float())
    terms["evidential"] = video_term(
        evidence, outputs.attention.float(), labels.float(), options.evidence_topk_divisor
    )
    weights = guide_weights(uncertainty(evidence), progress, options.guide_amplitude)
    terms["guide"] = (weights[..., None] * guide_errors(outputs)).mean()
    terms["total"] = (
        terms["total"]
        + options.guide_weight * terms["guide"]
        + options.evidential_weight * terms["evidential"]
    )
    return terms


def class_evidence(cas: Tensor) -> Tensor:
    """Return the evidence (B, T, C), positive, that logits (B, T, C + 1) hold for the classes."""
    return cas[..., :-1].clamp(-LOGIT_BOUND, LOGIT_BOUND).exp()


def uncertainty(evidence: Tensor) -> Tensor:
    """Return C / S in (0, 1), where S = sum over C of (evidence + 1); the last axis goes."""
    return evidence.shape[-1] / (evidence + 1).sum(dim=-1)


def video_term(evidence: Tensor, attention: Tensor, labels: Tensor, topk_divisor: int) -> Tensor:
    """Return the type II maximum likelihood of the videos' labels under their Dirichlet.

    sum over c of y_c (log S - log alpha_c), y normalised to sum 1, mean over the videos. The
    evidence of a video is the mean over its max(1, T // topk_divisor) snippets of highest
    attention (B, T, 1).
    """
    count = max(1, evidence.shape[1] // topk_divisor)
    chosen = attention.topk(count, dim=1).indices.expand(-1, -1, evidence.shape[-1])
    alpha = evidence.gather(1, chosen).mean(dim=1) + 1
    target = labels / (labels.sum(dim=-1, keepdim=True) + EPSILON)
    return (target * (alpha.sum(dim=-1, keepdim=True).log() - alpha.log())).sum(dim=-1).mean()


def guide_weights(snippet_uncertainty: Tensor, progress: float, amplitude: float) -> Tensor:
    """Return a weight for each snippet, (B, T), of mean about 1, without a gradient.

    1 + amplitude * tanh(delta * phi): phi runs from 1 for a video's least certain snippet to -1
    for its most certain one, delta from -1 at the start of the training to 1 at its end.
    """
    length = snippet_uncertainty.shape[1]
    rank = snippet_uncertainty.detach().argsort(dim=1, descending=True).argsort(dim=1)
    phi = 1 - 2 * rank / max(length - 1, 1)
    return 1 + amplitude * torch.tanh((2 * progress - 1) * phi)
