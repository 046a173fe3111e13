"""Halving and doubling the resolution as VQGAN does it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.recomputed_conv import upsample_conv


class Downsample(nn.Module):
    """(B, C, H, W) to (B, C, H/2, W/2): one row and column of zeros at the far edges, then a stride-2 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """(B, C, H, W) to (B, C, 2H, 2W), or another number of channels: nearest neighbour, then a convolution."""

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels or channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return upsample_conv(x, self.conv)
