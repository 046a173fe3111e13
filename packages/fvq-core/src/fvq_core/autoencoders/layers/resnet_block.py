"""The residual block of VQGAN (Esser et al., 2021): norm, swish, conv, twice."""

from __future__ import annotations

from torch import Tensor, nn

from ...ops.recomputed_conv import norm_conv
from ...ops.residual_sum import residual_sum
from .norm import group_norm


class ResnetBlock(nn.Module):
    """(B, in_channels, H, W) to (B, out_channels, H, W); `bias` is that of the convolutions (none in MAGVIT-v2)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, dropout: float = 0.0, norm_groups: int = 32, bias: bool = True
    ) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = group_norm(out_channels, norm_groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h, bias, x = norm_conv(x, self.norm1, self.conv1)
        h, bias, _ = norm_conv(h, self.norm2, self.conv2, bias, self.dropout)
        return residual_sum(self.shortcut(x), h, bias)
