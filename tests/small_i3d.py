"""A small I3D of stated random weights, for tests."""

import torch

from co2net.backbone.i3d import I3D


def small_i3d(channels=3, *, classes=5, divisor=8, seed=0):
    """A small I3D whose batch normalization is not the identity, as trained weights are not."""
    generator = torch.Generator().manual_seed(seed)
    model = I3D(channels, classes=classes, divisor=divisor)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith("conv3d.weight"):
            fan = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan) ** 0.5)
        elif name.endswith(("bias", "running_mean")):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return model.eval().requires_grad_(False)
