"""The inverted bottleneck with LayerNorm of ViTamin (Chen et al., 2024), and its mirror image in UniTok's decoder."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .resample import Upsample

Resample = Literal['down', 'up'] | None


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of (B, C, H, W), eps 1e-6."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MBConvBlock(nn.Module):
    """A norm, 1x1 to 4 times the output's channels, depthwise 3x3, and 1x1, with exact GELU between and a path around.

    (B, in_channels, H, W) to (B, out_channels, H, W).

    Args:
        resample: 'down' halves the resolution in the depthwise convolution, and by a 3x3 mean around it; 'up' doubles it
            by a nearest neighbour and a 3x3 convolution, in front of the depthwise one and around.
    """

    def __init__(self, in_channels: int, out_channels: int, resample: Resample = None) -> None:
        super().__init__()
        hidden, down, up = 4 * out_channels, resample == 'down', resample == 'up'
        shortcut: list[nn.Module] = [nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)] if down else []
        if up:
            shortcut.append(Upsample(in_channels, out_channels))
        elif in_channels != out_channels:
            shortcut.append(nn.Conv2d(in_channels, out_channels, 1))
        self.shortcut = nn.Sequential(*shortcut)
        self.norm = ChannelNorm(in_channels)
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.upsample = Upsample(hidden) if up else nn.Identity()
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=2 if down else 1, padding=1, groups=hidden)
        self.reduce = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.upsample(F.gelu(self.expand(self.norm(x))))
        return self.shortcut(x) + self.reduce(F.gelu(self.depthwise(h)))
