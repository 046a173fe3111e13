"""Attention that knows where the next code belongs: half of the query heads turn by its position (BAR, Yu et al., 2026)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError

from .attention import Attention
from .rms_norm import RMSNorm
from .rotary_embedding import rotate


class TargetAttention(Attention):
    """`Attention` with an RMSNorm of queries and keys, whose second half of the query heads is turned by another table.

    Args:
        dim: Channels D.
        heads: Heads, an even number.
        eps: Of the norms.
        out_dropout: Dropout of the result, in training.

    Raises:
        UserError: Heads that do not divide.
    """

    def __init__(self, dim: int, heads: int, eps: float, out_dropout: float = 0.0) -> None:
        super().__init__(dim, heads, None, 0.0, out_dropout, bias=True, qk_norm=eps, norm=RMSNorm)
        if heads % 2:
            raise UserError(f'TargetAttention: half of the heads look ahead, so they are an even number, got {heads}.')

    def turn(self, qk_BLHD: Tensor, rotations_LP4: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        """The tables lie behind each other, (L, head_dim / 2, 4): that of the tokens, and that of the codes to predict."""
        (own, target), half = rotations_LP4.split(2, -1), self.heads // 2
        q_BLHD, ahead_BLHD, k_BLHD = qk_BLHD.split([half, half, self.kv_heads], dim=2)
        return torch.cat([rotate(q_BLHD, own), rotate(ahead_BLHD, target), rotate(k_BLHD, own)], dim=2)
