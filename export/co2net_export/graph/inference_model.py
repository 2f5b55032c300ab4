"""The inference graph: what CO2Net computes, for padded batches, without its dead weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from co2net.model import LEAKY_SLOPE, CO2Net, ConsensusModule


def leaky(x: Tensor) -> Tensor:
    """Return the network's LeakyReLU of x."""
    return functional.leaky_relu(x, LEAKY_SLOPE)


def layer(module: nn.Module) -> nn.Conv1d:
    """Return the module, checked to be a convolution."""
    assert isinstance(module, nn.Conv1d)
    return module


def center_tap(convolution: nn.Conv1d) -> nn.Linear:
    """Return the linear map that a k=3 convolution is on a signal of length 1.

    Its outer taps only ever see zero padding: they are dead weights.
    """
    linear = nn.Linear(convolution.in_channels, convolution.out_channels)
    linear.load_state_dict(
        {name: w[:, :, 1] if w.dim() == 3 else w for name, w in convolution.state_dict().items()}
    )
    return linear


class ConsensusAdapter(nn.Module):
    """ConsensusModule for inference; its layers keep their names in the checkpoint."""

    def __init__(self, module: ConsensusModule) -> None:
        super().__init__()
        self.channel_conv = nn.ModuleDict({"0": center_tap(layer(module.channel_conv[0]))})
        self.bit_wise_attn = nn.ModuleDict({"0": module.bit_wise_attn[0]})
        self.attention = nn.ModuleDict({str(i): module.attention[i] for i in (0, 3, 5)})

    def forward(
        self, main: Tensor, auxiliary: Tensor, context: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map main and auxiliary (B, channels, T), masked, to attention (B, 1, T), filtered main.

        context (B, main channels): temporal mean of main. mask (B, 1, T) bool.
        """
        global_context = leaky(self.channel_conv["0"](context)).unsqueeze(-1)
        local_context = leaky(self.bit_wise_attn["0"](auxiliary))
        # main is 0 in the padding, so the filtered stream is, too
        filtered = torch.sigmoid(local_context * global_context) * main
        hidden = leaky(self.attention["0"](filtered))
        hidden = leaky(self.attention["3"](masked(mask, hidden)))
        return torch.sigmoid(self.attention["5"](hidden)), filtered


class InferenceModel(nn.Module):
    """CO2Net in evaluation mode on ragged batches: (features, lengths) -> (cas, attention).

    Every layer that looks at neighbors (k=3 convolutions, the temporal mean, ANT_CO2's pooling)
    sees zeros from `lengths` on, as it sees zeros beyond the end of an unpadded video; whatever
    the padding holds, NaN included, changes nothing, since it is selected away (0 * NaN would be
    NaN). Outputs from `lengths` on are 0.
    """

    def __init__(self, model: CO2Net) -> None:
        super().__init__()
        self.config = model.config
        self.vAttn = ConsensusAdapter(model.vAttn)
        self.fAttn = ConsensusAdapter(model.fAttn)
        self.fusion = nn.ModuleDict({"0": model.fusion[0]})
        self.classifier = nn.ModuleDict({str(i): model.classifier[i] for i in (1, 4)})
        self.eval()

    def forward(
        self, features: Tensor, lengths: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map features (B, T, D) and lengths (B,) int64 to cas (B, T, C+1), attention (B, T, 1).

        context (B, D): temporal mean of the whole video of which `features` is a chunk; by
        default, the mean of `features` over each row's length.
        """
        streams = [self.config.rgb_dim, self.config.flow_dim]
        time = torch.arange(features.shape[1], device=features.device)
        mask = (time.unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(1)
        signal = masked(mask, features.transpose(1, 2))
        if context is None:
            context = signal.sum(-1) / mask.sum(-1, dtype=signal.dtype).clamp(min=1)
        rgb, flow = torch.split(signal, streams, dim=1)
        rgb_context, flow_context = torch.split(context, streams, dim=1)
        rgb_attention, filtered_rgb = self.vAttn(rgb, flow, rgb_context, mask)
        flow_attention, filtered_flow = self.fAttn(flow, rgb, flow_context, mask)
        attention = (rgb_attention + flow_attention) / 2
        feat = leaky(self.fusion["0"](torch.cat([filtered_rgb, filtered_flow], dim=1)))
        cas = self.classifier["4"](leaky(self.classifier["1"](masked(mask, feat))))
        cas, attention = self._pool(cas, mask), self._pool(attention, mask)
        return masked(mask, cas).transpose(1, 2), masked(mask, attention).transpose(1, 2)

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        kernel = self.config.pool_kernel
        if kernel == 1:
            return x
        return functional.avg_pool1d(masked(mask, x), kernel, 1, kernel // 2)


def masked(mask: Tensor, x: Tensor) -> Tensor:
    """Return x where the mask holds, else 0: also where x is NaN."""
    return torch.where(mask, x, 0.0)
