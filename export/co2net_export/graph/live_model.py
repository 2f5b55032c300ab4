"""The inference graph for a stream: each layer computes the new snippets and remembers two.

A k=3 convolution over a stream needs the two snippets before the new ones, so every convolution's
input is carried from step to step: nothing is computed twice. Layers are matrix products whose rows
are snippets of any stream, so that a tick of many streams reads the weights once.
"""

import torch
from torch import Tensor, nn

from co2net.model import CO2Net, ConsensusModule
from co2net_export.graph.inference_model import center_tap, layer, leaky, masked

# rows that a k=3 convolution carries over
TAIL = 2


class Taps(nn.Module):
    """A convolution as a product with its taps side by side: weight (kernel * inputs, outputs)."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        outputs, inputs, kernel = convolution.weight.shape
        taps = convolution.weight.detach().permute(2, 1, 0).reshape(kernel * inputs, outputs)
        assert convolution.bias is not None
        self.weight = nn.Parameter(taps.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(convolution.bias.detach().clone(), requires_grad=False)
        self.kernel = kernel

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, N + kernel - 1, inputs) to (B, N, outputs)."""
        if self.kernel > 1:
            count = rows.shape[1] - TAIL
            rows = torch.cat([rows[:, tap : tap + count] for tap in range(self.kernel)], dim=-1)
        return rows @ self.weight + self.bias


class LiveConsensus(nn.Module):
    """ConsensusModule for new snippets; its layers keep their names in the checkpoint."""

    def __init__(self, module: ConsensusModule) -> None:
        super().__init__()
        self.channel_conv = nn.ModuleDict({"0": center_tap(layer(module.channel_conv[0]))})
        self.bit_wise_attn = nn.ModuleDict({"0": Taps(layer(module.bit_wise_attn[0]))})
        self.attention = nn.ModuleDict(
            {str(i): Taps(layer(module.attention[i])) for i in (0, 3, 5)}
        )

    def filtered(self, main: Tensor, auxiliary: Tensor, context: Tensor) -> Tensor:
        """Filter main (B, N + 2, channels) by auxiliary, the same, and context (B, channels)."""
        global_context = leaky(self.channel_conv["0"](context)).unsqueeze(1)
        local_context = leaky(self.bit_wise_attn["0"](auxiliary))
        return torch.sigmoid(local_context * global_context) * main[:, 1:-1]


class LiveModel(nn.Module):
    """CO2Net on a stream: new snippets and the state -> outputs DELAY snippets back, new state."""

    DELAY = 3

    def __init__(self, model: CO2Net) -> None:
        super().__init__()
        self.config = model.config
        self.vAttn = LiveConsensus(model.vAttn)
        self.fAttn = LiveConsensus(model.fAttn)
        self.fusion = nn.ModuleDict({"0": Taps(layer(model.fusion[0]))})
        self.classifier = nn.ModuleDict({str(i): Taps(layer(model.classifier[i])) for i in (1, 4)})
        self.eval()

    @property
    def widths(self) -> list[int]:
        """Widths of the parts of the state: features, filtered, fused, both hidden layers."""
        dim, hidden = self.config.feature_dim, self.config.attention_dim
        return [dim, dim, self.config.embed_dim, hidden, hidden]

    def forward(
        self, features: Tensor, position: Tensor, length: Tensor, context: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take the stream's snippets from `position` on; pooling of ANT_CO2 is the caller's.

        Args:
            features: (B, N, D), snippets position ... position + N - 1.
            position: (B,) int64.
            length: (B,) int64. Snippets outside [0, length) count as the zero padding of a whole
                video, whatever they hold.
            context: (B, D), the temporal mean.
            state: (B, 2, S), the next state that the previous step returned; zeros at first.

        Returns:
            cas (B, N, C+1) and attention (B, N, 1) of the snippets from position - DELAY on, 0
            outside the stream; and the next state.
        """
        time = position.unsqueeze(1) + torch.arange(features.shape[1], device=features.device)

        def inside(rows: Tensor, delay: int) -> Tensor:
            moved = time - delay
            valid = (moved >= 0) & (moved < length.unsqueeze(1))
            return masked(valid.unsqueeze(-1), rows)

        tails = torch.split(state, self.widths, dim=-1)
        signal = torch.cat([tails[0], inside(features, 0)], dim=1)
        streams = [self.config.rgb_dim, self.config.flow_dim]
        rgb, flow = torch.split(signal, streams, dim=-1)
        rgb_context, flow_context = torch.split(context, streams, dim=-1)
        new = [
            self.vAttn.filtered(rgb, flow, rgb_context),
            self.fAttn.filtered(flow, rgb, flow_context),
        ]
        filtered = torch.cat([tails[1], torch.cat(new, dim=-1)], dim=1)
        # one snippet later than necessary, so that cas and attention are of the same snippets
        feat = inside(leaky(self.fusion["0"](filtered[:, 1:-1])), 2)
        fused = torch.cat([tails[2], feat], dim=1)
        cas = self.classifier["4"](leaky(self.classifier["1"](fused)))
        carried, attentions = [signal, filtered, fused], []
        for module, main, tail in zip(
            (self.vAttn, self.fAttn), torch.split(filtered, streams, dim=-1), tails[3:], strict=True
        ):
            hidden = inside(leaky(module.attention["0"](main)), 2)
            carried.append(torch.cat([tail, hidden], dim=1))
            last = leaky(module.attention["3"](carried[-1]))
            attentions.append(torch.sigmoid(module.attention["5"](last)))
        attention = (attentions[0] + attentions[1]) / 2
        next_state = torch.cat([rows[:, -TAIL:] for rows in carried], dim=-1)
        return inside(cas, self.DELAY), inside(attention, self.DELAY), next_state
