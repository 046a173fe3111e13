"""The discriminator of 1d-tokenizer (TiTok, TA-TiTok, MaskBit): convolutions, blurred halvings, and logits on a fixed grid."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import DISCRIMINATORS
from ...registry.argument_types import check_sizes

SLOPE, GRID = 0.1, 16


@DISCRIMINATORS.register_module()
class BlurredCNN(nn.Module):
    """Images (B, in_channels, H, W) in [-1, 1] to logits (B, 1, 16, 16); the network itself works on [0, 1].

    A 5x5 convolution; `stages` times a 3x3 convolution, a blur that halves the resolution, GroupNorm and LeakyReLU; the maximum
    in each cell of a grid of 16x16; a 1x1 and a 5x5 convolution.

    Args:
        ch: Channels after the first convolution; each stage but the first doubles them.
        stages: Number of halvings.
        norm_groups: Groups of every GroupNorm; must divide every channel count.
    """

    def __init__(self, in_channels: int = 3, ch: int = 128, stages: int = 3, norm_groups: int = 32) -> None:
        super().__init__()
        check_sizes('BlurredCNN', in_channels=in_channels, ch=ch, stages=stages, norm_groups=norm_groups)
        self.conv_in = nn.Conv2d(in_channels, ch, 5, padding=2)
        channels = [ch, *(ch * 2**stage for stage in range(stages))]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                BlurredHalving(),
                nn.GroupNorm(norm_groups, after),
                nn.LeakyReLU(SLOPE),
            )
            for before, after in itertools.pairwise(channels)
        )
        self.conv_mid = nn.Conv2d(channels[-1], channels[-1], 1)
        self.conv_out = nn.Conv2d(channels[-1], 1, 5, padding=2)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv_in((images_BCHW + 1) / 2), SLOPE)
        for stage in self.stages:
            h = stage(h)
        h = F.leaky_relu(self.conv_mid(F.adaptive_max_pool2d(h, GRID)), SLOPE)
        return self.conv_out(h)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """16 channels."""
        return dict(ch=16, norm_groups=8)


class BlurredHalving(nn.Module):
    """The filter [1, 3, 3, 1] / 8 along both axes of each channel, at every second position, with borders of zeros."""

    kernel_44: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer('kernel_44', taps[:, None] * taps, persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        C, (rows, columns) = x_BCHW.shape[1], (2 + side % 2 for side in x_BCHW.shape[2:])
        padded = F.pad(x_BCHW, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.kernel_44.to(x_BCHW.dtype).expand(C, 1, 4, 4), stride=2, groups=C)
