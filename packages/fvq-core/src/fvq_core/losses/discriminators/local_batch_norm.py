"""Batch normalization over a few images at a time (StyleGAN-T, Sauer et al., 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LocalBatchNorm(nn.Module):
    """(B, C, L) to the same: each channel normalised over the positions of a few images, in training and in eval alike.

    A batch is cut into the fewest equal parts of at most `images`; its statistics are this rank's, and none are kept.

    Args:
        channels: C.
        images: The largest number of images that share statistics.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, images: int = 8, eps: float = 1e-6) -> None:
        super().__init__()
        self.images, self.eps = images, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCL: Tensor) -> Tensor:
        B = x_BCL.shape[0]
        parts = next(count for count in range(-(-B // self.images), B + 1) if B % count == 0)
        x_PbCL = x_BCL.float().unflatten(0, (parts, -1))
        variance, mean = torch.var_mean(x_PbCL, (1, 3), correction=0, keepdim=True)
        normalised = ((x_PbCL - mean) / (variance + self.eps).sqrt()).flatten(0, 1)
        return normalised * self.weight[:, None] + self.bias[:, None]

    def extra_repr(self) -> str:
        return f'{len(self.weight)}, images={self.images}, eps={self.eps}'
