"""The transformer block of DiT: a condition shifts, scales and gates both halves (Peebles and Xie, 2023, section 3.2)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class AdaLNZeroBlock(nn.Module):
    """x + gate * attention(modulated x), then the same with an MLP; LayerNorms have no affine part.

    Shifts, scales and gates are one linear map of SiLU(condition). As long as that map is zero, the block is the identity.
    """

    def __init__(self, hidden_dim: int, num_heads: int, mlp_ratio: float) -> None:
        from timm.models.vision_transformer import Attention, Mlp  # seconds that a folded tokenizer does not need

        super().__init__()
        act: Any = partial(nn.GELU, approximate='tanh')
        self.attn = Attention(hidden_dim, num_heads, qkv_bias=True)
        self.mlp = Mlp(hidden_dim, int(hidden_dim * mlp_ratio), act_layer=act)
        self.modulation = nn.Linear(hidden_dim, 6 * hidden_dim)

    def forward(self, x_BTC: Tensor, condition_BC: Tensor) -> Tensor:
        """Tokens (B, T, C), or (1, T, C) shared by all conditions, and conditions (B, C) to tokens (B, T, C)."""
        parts = self.modulation(F.silu(condition_BC)).unsqueeze(1).chunk(6, 2)
        x_BTC = x_BTC + parts[2] * self.attn(modulated(x_BTC, parts[0], parts[1]))
        return x_BTC + parts[5] * self.mlp(modulated(x_BTC, parts[3], parts[4]))


def modulated(x_BTC: Tensor, shift_B1C: Tensor, scale_B1C: Tensor) -> Tensor:
    """LayerNorm without an affine part, then scaled by 1 + scale and shifted."""
    return F.layer_norm(x_BTC, x_BTC.shape[-1:], eps=EPS) * (1.0 + scale_B1C) + shift_B1C
