"""Doubling the resolution as MAGVIT-v2 does it (Yu et al., 2024, section 3.2)."""

from __future__ import annotations

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
        return F.pixel_shuffle(self.conv(x), 2)
