"""Group normalization modulated by the latent (MAGVIT-v2, Yu et al., 2024, section 3.2, as in Open-MAGVIT2)."""

from __future__ import annotations

from torch import Tensor, nn

from ...ops.group_norm_silu import apply_group_norm
from .norm import group_norm


class AdaptiveGroupNorm(nn.Module):
    """GN(x) * scale(std of z over positions) + shift(mean of z over positions).

    Both maps are linear, from the latent's channels to the features'; GN has no affine part. The standard deviation is
    sqrt(unbiased variance + 1e-6); the variance of a single position is 0.
    """

    def __init__(self, channels: int, latent_channels: int, *, norm_groups: int = 32, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.norm = group_norm(channels, norm_groups, affine=False)
        self.scale = nn.Linear(latent_channels, channels)
        self.shift = nn.Linear(latent_channels, channels)

    def forward(self, x: Tensor, z_BDHW: Tensor) -> Tensor:
        """Features (B, C, H', W') and the latent (B, D, H, W) to features."""
        z_BDN = z_BDHW.flatten(2)
        variance_BD = z_BDN.var(2, correction=1 if z_BDN.shape[2] > 1 else 0)
        scale_BC, shift_BC = self.scale((variance_BD + self.eps).sqrt()), self.shift(z_BDN.mean(2))
        return apply_group_norm(x, self.norm, weight=scale_BC, bias=shift_BC)
