"""Multi-head attention with rotary positions, grouped queries and a cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError

from .kv_cache import KVCache
from .linear import Linear
from .rotary_embedding import rotate


class Attention(nn.Module):
    """Scaled dot-product attention; several query heads may share a head of keys and values.

    Args:
        dim: Channels D.
        heads: Query heads; they divide D.
        kv_heads: Heads of keys and values, which divide `heads` (Ainslie et al., 2023); as many as `heads` by default.
        dropout: Dropout of the attention weights, in training.
        out_dropout: Dropout of the result, in training.
        bias: Whether the maps to queries, keys and values, and of the result, have one.
        qk_norm: Epsilon of a norm of each head's queries and keys; None for none.
        norm: Its type, `nn.LayerNorm` or `RMSNorm`.

    Raises:
        UserError: Heads that do not divide.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        dropout: float = 0.0,
        out_dropout: float = 0.0,
        bias: bool = False,
        qk_norm: float | None = None,
        norm: Callable[[int, float], nn.Module] = nn.LayerNorm,
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or kv_heads < 1 or dim % heads or heads % kv_heads:
            raise UserError(
                f'Attention: heads must divide dim, and kv_heads heads; got dim {dim}, heads {heads}, kv_heads {kv_heads}.'
            )
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.qkv = Linear(dim, (heads + 2 * kv_heads) * self.head_dim, bias=bias)
        self.q_norm, self.k_norm = (
            nn.Identity() if qk_norm is None else norm(self.head_dim, qk_norm) for _ in range(2)
        )
        self.out = Linear(dim, dim, bias=bias)
        self.dropout, self.qk_norm = dropout, qk_norm is not None
        self.out_dropout = nn.Dropout(out_dropout)

    def turn(self, qk_BLHD: Tensor, rotations_LP2: Tensor) -> Tensor:
        """Heads of queries, then of keys, by their rotary table."""
        return rotate(qk_BLHD, rotations_LP2)

    def forward(
        self,
        x_BLD: Tensor,
        rotations_LP2: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
        position: int | Tensor = 0,
    ) -> Tensor:
        """(B, L, D) to (B, L, D).

        Args:
            x_BLD: The new positions.
            rotations_LP2: Rows of a rotary table for these positions, or each sequence's own (B, L, P, 2); None for none.
            mask: bool, broadcastable to (B, heads, L, T), True for what may be attended to.
            causal: Position i sees those up to i; without a mask, and without earlier positions in the cache.
            cache: Holds earlier keys and values, and takes these.
            layer: Index of the layer in the cache.
            position: See `KVCache.append`.
        """
        B, L, D = x_BLD.shape
        turned = self.heads + self.kv_heads
        qkv = self.qkv(x_BLD).view(B, L, turned + self.kv_heads, self.head_dim)
        qk, v = qkv[:, :, :turned], qkv[:, :, turned:].transpose(1, 2)
        if self.qk_norm:
            qk = torch.cat([self.q_norm(qk[:, :, : self.heads]), self.k_norm(qk[:, :, self.heads :])], dim=2)
        if rotations_LP2 is not None:
            qk = self.turn(qk, rotations_LP2)
        q, k = qk[:, :, : self.heads].transpose(1, 2), qk[:, :, self.heads :].transpose(1, 2)
        if cache is not None:
            k, v = cache.append(layer, k, v, position)
        out_BHLD = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.out_dropout(self.out(out_BHLD.transpose(1, 2).reshape(B, L, D)))
