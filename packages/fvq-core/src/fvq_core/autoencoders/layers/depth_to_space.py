"""Doubling the resolution as MAGVIT-v2 does it (Yu et al., 2024, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthToSpaceUpsample(nn.Module):
    """(B, C, H, W) to (B, C, 2H, 2W): a convolution to 4C channels, which become 2 x 2 positions.

    Channel 4c + 2i + j goes to channel c, row i, column j. In Open-MAGVIT2's weights it is channel (2i + j) C + c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.conv(x))


def depth_to_space(x: Tensor) -> Tensor:
    """`pixel_shuffle(x, 2)` in x's memory order, which it does not keep on a GPU."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.pixel_shuffle(x, 2)
    B, C, H, W = x.shape
    x_BHWCij = x.permute(0, 2, 3, 1).view(B, H, W, C // 4, 2, 2)
    return x_BHWCij.permute(0, 1, 4, 2, 5, 3).reshape(B, 2 * H, 2 * W, C // 4).permute(0, 3, 1, 2)
