"""Time of a diffusion process as channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_PERIOD = 10000.0


def time_features(t_B: Tensor, channels: int) -> Tensor:
    """(B,) to (B, channels), float32: cosines, then sines, of angles with periods from 2 pi to 10,000 x 2 pi."""
    half = channels // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) / half * torch.arange(half, device=t_B.device, dtype=torch.float32))
    angles = t_B.float()[:, None] * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, channels % 2))


class TimeEmbedding(nn.Module):
    """Two linear maps with SiLU between them, of `time_features`.

    Args:
        dim: Channels D.
        features: Channels of the features.
    """

    def __init__(self, dim: int, features: int = 256) -> None:
        super().__init__()
        self.features = features
        self.inner = nn.Linear(features, dim)
        self.outer = nn.Linear(dim, dim)

    def forward(self, t_B: Tensor) -> Tensor:
        """(B,) to (B, D)."""
        features_BC = time_features(t_B, self.features).to(self.inner.weight.dtype)
        return self.outer(F.silu(self.inner(features_BC)))
