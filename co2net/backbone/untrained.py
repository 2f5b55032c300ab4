"""A small I3D of stated random weights: for demonstrations, where no trained weights are given.

Pooled random convolutions tell textures, colors and motions apart well enough for a model that is
trained on them; they know nothing else.
"""

import torch
from torch.nn import functional

from co2net.backbone.i3d import I3D
from co2net_runtime.artefact.backbone import Stream

CHANNELS: dict[Stream, int] = {"rgb": 3, "flow": 2}
_DIVISOR = 16  # 64 features
_CLIPS = 8  # of noise, that the statistics of the batch normalization are taken on


def untrained_i3d(stream: Stream, seed: int = 0) -> I3D:
    """Return an I3D, a sixteenth as wide as the published one, that a seed decides.

    Kernels are drawn from He's normal distribution; the means and variances of batch
    normalization are those of smooth noise, so that every feature differs from clip to clip.

    Example:
        torch.save(untrained_i3d("rgb").state_dict(), "rgb.pt")
    """
    generator = torch.Generator().manual_seed(seed)
    model = I3D(CHANNELS[stream], classes=5, divisor=_DIVISOR)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv3d):
            fan = module.weight[0].numel()
            values = torch.randn(module.weight.shape, generator=generator)
            module.weight.data.copy_(values * (2 / fan) ** 0.5)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the plain mean over all batches
    model.train().requires_grad_(False)
    model.features(_noise(CHANNELS[stream], generator))
    return model.eval()


def _noise(channels: int, generator: torch.Generator) -> torch.Tensor:
    """Return smooth clips (N, channels, 16, 224, 224) from -1 to 1, each of its own contrast."""
    knots = torch.rand((_CLIPS, channels, 5, 28, 28), generator=generator) * 2 - 1
    contrast = torch.linspace(0.1, 1, _CLIPS).reshape(-1, 1, 1, 1, 1)
    return functional.interpolate(knots * contrast, (16, 224, 224), mode="trilinear")
