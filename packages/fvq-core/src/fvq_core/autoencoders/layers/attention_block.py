"""The spatial self-attention block of VQGAN: one head over all positions, scale C^-1/2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.group_norm_silu import apply_group_norm
from .norm import group_norm


class AttentionBlock(nn.Module):
    """(B, C, H, W) to the same shape; cost grows with (H*W)^2, so it is used at the coarsest level."""

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm = group_norm(channels, norm_groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = apply_group_norm(x, self.norm)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))  # each (B, H*W, C)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.transpose(1, 2).reshape(B, C, H, W))
