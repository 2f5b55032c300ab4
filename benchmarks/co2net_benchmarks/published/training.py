"""The published training loop, transcribed plainly from the method, sections 2 and 3.

It is the baseline that the training loop is timed against, and an independent oracle of its tests:
of co2net it uses the network alone. Loops stand where the method speaks of one snippet, one pair,
one class at a time.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from co2net.model import CO2Net, Outputs

Features = npt.NDArray[np.float32]


class PublishedSampler:
    """Draws batches from features held in memory.

    Args:
        features: Of N videos, (T, D) each.
        labels: (N, C) multi-hot.
        snippets: Snippets that a video is sampled to.
        seed: Of the draws.
    """

    def __init__(
        self, features: list[Features], labels: npt.NDArray[np.float32], snippets: int, seed: int
    ) -> None:
        self._features, self._labels, self._snippets = features, labels, snippets
        self._random = np.random.RandomState(seed)
        self._members = [np.where(column > 0)[0] for column in labels.T]

    def batch(self) -> tuple[Features, npt.NDArray[np.float32]]:
        """Return features (10, S, D) and labels (10, C): three pairs, then four random videos."""
        videos: list[int] = []
        for chosen in self._random.choice(len(self._members), size=3):
            members = self._members[chosen]
            for index in self._random.choice(len(members), size=2, replace=False):
                videos.append(members[index])
        for index in self._random.choice(len(self._features), size=4):
            videos.append(index)
        rows = [self._features[video][self._resample(video)] for video in videos]
        return np.array(rows), np.array([self._labels[video] for video in videos])

    def _resample(self, video: int) -> list[int]:
        length, target = len(self._features[video]), self._snippets
        if length == target:
            return list(range(length))
        positions = [i * length / target for i in range(target)]
        picked = []
        for i in range(target):
            start = int(positions[i])
            end = int(positions[i + 1]) + 1 if i < target - 1 else length
            more = end - 1 > start
            picked.append(int(self._random.choice(range(start, end))) if more else start)
        return picked


def published_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the total loss of a batch with labels (B, C), at the published weights."""
    cas, attention = outputs.cas, outputs.attention
    lowest = cas.min(dim=-1, keepdim=True)[0]
    suppressed = attention * (cas - lowest) + lowest
    return (
        _mil(cas, labels, 1.0)
        + _mil(suppressed, labels, 0.0)
        + _contrastive(outputs.feat, suppressed, labels)
        + _mutual(outputs.rgb_attention, outputs.flow_attention)
        + 0.8 * _norm(outputs)
        + 0.8 * _guide(outputs)
    )


def _mil(logits: Tensor, labels: Tensor, background: float) -> Tensor:
    target = torch.cat([labels, background * torch.ones_like(labels[:, :1])], dim=-1)
    target = target / (target.sum(dim=1, keepdim=True) + 1e-4)
    top, _ = torch.topk(logits, k=max(1, logits.shape[1] // 7), dim=1)
    return -(target * functional.log_softmax(top.mean(dim=1), dim=-1)).sum(dim=-1).mean()


def _contrastive(feat: Tensor, suppressed: Tensor, labels: Tensor) -> Tensor:
    total, count = torch.zeros(()), 0
    for first in (0, 2, 4):
        second, length = first + 1, feat.shape[1]
        weights = [functional.softmax(suppressed[i], dim=0) for i in (first, second)]
        high = [feat[i].T @ w for i, w in zip((first, second), weights, strict=True)]
        low = [
            feat[i].T @ ((1 - w) / max(length - 1, 1))
            for i, w in zip((first, second), weights, strict=True)
        ]
        alike = _distance(high[0], high[1])
        unlike = _distance(high[0], low[1]), _distance(high[1], low[0])
        for c in range(labels.shape[1]):
            if labels[first, c] > 0 and labels[second, c] > 0:
                for other in unlike:
                    total = total + 0.5 * torch.clamp(alike[c] - other[c] + 0.5, min=0)
                count += 1
    return total / max(count, 1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.square().sum(dim=0).sqrt() * b.square().sum(dim=0).sqrt()
    return 1 - (a * b).sum(dim=0) / lengths


def _mutual(rgb: Tensor, flow: Tensor) -> Tensor:
    return 0.5 * functional.mse_loss(rgb, flow.detach()) + 0.5 * functional.mse_loss(
        flow, rgb.detach()
    )


def _norm(outputs: Outputs) -> Tensor:
    return (
        outputs.attention.mean() + outputs.rgb_attention.mean() + outputs.flow_attention.mean()
    ) / 3


def _guide(outputs: Outputs) -> Tensor:
    background = functional.softmax(outputs.cas, dim=-1)[..., -1:]
    errors = [
        torch.abs(1 - z - background).mean()
        for z in (outputs.attention, outputs.rgb_attention, outputs.flow_attention)
    ]
    return (errors[0] + errors[1] + errors[2]) / 3


def published_optimizer(model: CO2Net) -> torch.optim.Optimizer:
    """Return Adam as THUMOS14 is trained."""
    return torch.optim.Adam(model.parameters(), lr=5e-5, weight_decay=1e-3)
