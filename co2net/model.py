"""The network of CO2-Net, used for training and as the reference of every export."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from co2net.config import ModelConfig

LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class Outputs:
    """The network's outputs for a batch, all float."""

    feat: Tensor  # (B, T, embed_dim) fused features
    cas: Tensor  # (B, T, C + 1) logits, background last
    attention: Tensor  # (B, T, 1) in (0, 1), the mean of the next two
    rgb_attention: Tensor  # (B, T, 1)
    flow_attention: Tensor  # (B, T, 1)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(LEAKY_SLOPE)


class ConsensusModule(nn.Module):
    """Cross-modal consensus: filters the main stream by its agreement with the other.

    Submodule names and indices are those of the published state dict.
    """

    def __init__(self, main_dim: int, auxiliary_dim: int, attention_dim: int, drop: float) -> None:
        super().__init__()
        self.channel_conv = nn.Sequential(
            nn.Conv1d(main_dim, main_dim, 3, padding=1), _leaky(), nn.Dropout(drop)
        )
        self.bit_wise_attn = nn.Sequential(
            nn.Conv1d(auxiliary_dim, main_dim, 3, padding=1), _leaky(), nn.Dropout(drop)
        )
        self.attention = nn.Sequential(
            nn.Conv1d(main_dim, attention_dim, 3, padding=1),
            _leaky(),
            nn.Dropout(drop),
            nn.Conv1d(attention_dim, attention_dim, 3, padding=1),
            _leaky(),
            nn.Conv1d(attention_dim, 1, 1),
            nn.Dropout(drop),
        )

    def forward(self, main: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, main_dim, T), (B, auxiliary_dim, T) to attention (B, 1, T) and filtered main."""
        global_context = self.channel_conv(main.mean(-1, keepdim=True))
        local_context = self.bit_wise_attn(auxiliary)
        filtered = torch.sigmoid(local_context * global_context) * main
        return torch.sigmoid(self.attention(filtered)), filtered


class CO2Net(nn.Module):
    """CO2 (pool_kernel 1) and ANT_CO2 (pool_kernel > 1: temporal average pooling of the outputs).

    The published `feat_encoder` never acts and is left out.

    Example:
        >>> outputs = CO2Net(ModelConfig(classes=20))(torch.rand(1, 100, 2048))
        >>> outputs.cas.shape
        torch.Size([1, 100, 21])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        rgb, flow, embed = config.rgb_dim, config.flow_dim, config.embed_dim
        self.vAttn = ConsensusModule(rgb, flow, config.attention_dim, config.stream_dropout)
        self.fAttn = ConsensusModule(flow, rgb, config.attention_dim, config.stream_dropout)
        self.fusion = nn.Sequential(
            nn.Conv1d(rgb + flow, embed, 1), _leaky(), nn.Dropout(config.dropout)
        )
        self.classifier = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Conv1d(embed, embed, 3, padding=1),
            _leaky(),
            nn.Dropout(config.dropout),
            nn.Conv1d(embed, config.classes + 1, 1),
        )
        self.apply(_initialize)

    def forward(self, features: Tensor) -> Outputs:
        """Run features (B, T, rgb_dim + flow_dim), RGB channels first, T >= 1."""
        signal = features.transpose(1, 2)
        rgb, flow = torch.split(signal, [self.config.rgb_dim, self.config.flow_dim], dim=1)
        rgb_attention, filtered_rgb = self.vAttn(rgb, flow)
        flow_attention, filtered_flow = self.fAttn(flow, rgb)
        attention = (rgb_attention + flow_attention) / 2
        feat = self.fusion(torch.cat([filtered_rgb, filtered_flow], dim=1))
        cas = self.classifier(feat)
        pooled = [self._pool(x) for x in (cas, attention, rgb_attention, flow_attention)]
        cas, attention, rgb_attention, flow_attention = (x.transpose(1, 2) for x in pooled)
        return Outputs(feat.transpose(1, 2), cas, attention, rgb_attention, flow_attention)

    def _pool(self, x: Tensor) -> Tensor:
        kernel = self.config.pool_kernel
        return functional.avg_pool1d(x, kernel, 1, kernel // 2) if kernel > 1 else x


def _initialize(module: nn.Module) -> None:
    """Published initial weights: Kaiming-uniform (a = 0, fan-in), biases 0."""
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
