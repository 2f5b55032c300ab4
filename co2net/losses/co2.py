"""The loss of CO2-Net (method, section 2)."""

import torch
from torch import Tensor
from torch.nn import functional

from co2net.config import LossOptions
from co2net.model import Outputs

COSINE_EPSILON = 1e-8
LABEL_EPSILON = 1e-4
MARGIN = 0.5


def co2_loss(
    outputs: Outputs, labels: Tensor, options: LossOptions, *, pairs: int
) -> dict[str, Tensor]:
    """Return the loss of a batch.

    Args:
        outputs: Of the network.
        labels: (B, C), 1 where the video shows the class. The first 2 * pairs videos of the batch
            are pairs (0, 1), (2, 3), ... that share a class.
        options: The weights.
        pairs: Number of pairs.

    Returns:
        "total" and its unweighted terms, each a scalar tensor.
    """
    labels = labels.float()
    suppressed = suppress(outputs.cas.float(), outputs.attention.float())
    terms = {
        "mil_orig": multiple_instance(outputs.cas.float(), labels, 1.0, options.topk_divisor),
        "mil_supp": multiple_instance(suppressed, labels, 0.0, options.topk_divisor),
        "contrastive": contrastive(outputs.feat.float(), suppressed, labels, pairs=pairs),
        **attention_terms(outputs),
    }
    terms["total"] = (
        terms["mil_orig"]
        + terms["mil_supp"]
        + options.contrastive_weight * terms["contrastive"]
        + weighted_attention_terms(terms, options)
    )
    return terms


def suppress(cas: Tensor, attention: Tensor) -> Tensor:
    """Pull logits (B, T, C + 1) toward their snippet's minimum where attention (B, T, 1) is low."""
    lowest = cas.amin(dim=-1, keepdim=True)
    return attention * (cas - lowest) + lowest


def topk_mean(x: Tensor, divisor: int) -> Tensor:
    """Return the mean of the max(1, T // divisor) largest values over time: (B, T, K) -> (B, K)."""
    count = max(1, x.shape[1] // divisor)
    return x.topk(count, dim=1).values.mean(dim=1)


def multiple_instance(cas: Tensor, labels: Tensor, background: float, topk_divisor: int) -> Tensor:
    """Return the cross entropy of the top-k mean logits (B, T, C + 1) against the video labels.

    labels: (B, C). background: The background's label: 1 as if in every video, or 0.
    """
    target = torch.cat([labels, labels.new_full((len(labels), 1), background)], dim=1)
    target = target / (target.sum(dim=1, keepdim=True) + LABEL_EPSILON)
    log_probabilities = functional.log_softmax(topk_mean(cas, topk_divisor), dim=1)
    return -(target * log_probabilities).sum(dim=1).mean()


def contrastive(feat: Tensor, suppressed: Tensor, labels: Tensor, *, pairs: int) -> Tensor:
    """Return the co-activity term: what two videos of a class attend to should be similar.

    feat: (B, T, E); suppressed: (B, T, C + 1) logits; labels: (B, C). Only the first 2 * pairs
    videos enter; 0 if no pair shares a class.
    """
    feat, labels = feat[: 2 * pairs], labels[: 2 * pairs]
    length, classes = feat.shape[1], labels.shape[1]
    weights = suppressed[: 2 * pairs].softmax(dim=1)[..., :classes]
    high = torch.einsum("bte,btc->bce", feat, weights)
    # the published mean; as only its direction enters, the divisor has no effect
    low = (feat.sum(dim=1, keepdim=True) - high) / max(length - 1, 1)
    high_1, high_2, low_1, low_2 = high[0::2], high[1::2], low[0::2], low[1::2]
    alike = _cosine_distance(high_1, high_2)
    loss = 0.5 * functional.relu(alike - _cosine_distance(high_1, low_2) + MARGIN)
    loss = loss + 0.5 * functional.relu(alike - _cosine_distance(high_2, low_1) + MARGIN)
    shared = (labels[0::2] > 0) & (labels[1::2] > 0)
    # where, not a product: a class that is not shared must not bring its NaN gradient in
    return torch.where(shared, loss, 0.0).sum() / shared.sum().clamp(min=1)


def attention_terms(outputs: Outputs) -> dict[str, Tensor]:
    """Return the terms on the attentions alone: mutual, norm and guide."""
    rgb, flow = outputs.rgb_attention.float(), outputs.flow_attention.float()
    attentions = (outputs.attention.float(), rgb, flow)
    return {
        "mutual": 0.5 * functional.mse_loss(rgb, flow.detach())
        + 0.5 * functional.mse_loss(flow, rgb.detach()),
        "norm": torch.stack([z.mean() for z in attentions]).mean(),
        "guide": guide_errors(outputs).mean(),
    }


def guide_errors(outputs: Outputs) -> Tensor:
    """Return |1 - z - softmax(cas)[background]| for the mean, RGB and flow attention, (B, T, 3)."""
    background = outputs.cas.float().softmax(dim=-1)[..., -1:]
    attentions = (outputs.attention, outputs.rgb_attention, outputs.flow_attention)
    return (1 - torch.cat(attentions, dim=-1).float() - background).abs()


def weighted_attention_terms(terms: dict[str, Tensor], options: LossOptions) -> Tensor:
    """Return the weighted sum of the terms of `attention_terms`."""
    return (
        options.mutual_weight * terms["mutual"]
        + options.norm_weight * terms["norm"]
        + options.guide_weight * terms["guide"]
    )


def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    return 1 - functional.cosine_similarity(a, b, dim=-1, eps=COSINE_EPSILON)
