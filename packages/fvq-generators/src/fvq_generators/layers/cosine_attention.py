"""Attention on cosines over the scales of a pyramid, with a learned temperature for each head (VAR)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError

from .block_causal_attention import block_causal_attention
from .kv_cache import KVCache
from .rotary_embedding import rotate

START, MOST = 4.0, 100.0  # temperature of a head at first, and at most


class CosineAttention(nn.Module):
    """Multi-head attention whose queries and keys are l2-normalised, with queries times exp of a learned value of the head.

    Queries, values and the result have a bias; a bias of the keys would change nothing.

    Args:
        dim: Channels D.
        heads: Heads; they divide D.
        cosine: Whether queries and keys are normalised; otherwise products are scaled by `0.25 head_dim^-1/2`.
        dropout: Dropout of the result, in training.

    Raises:
        UserError: Heads that do not divide.
    """

    def __init__(self, dim: int, heads: int, cosine: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UserError(f'CosineAttention: heads must divide dim; got dim {dim}, heads {heads}.')
        self.heads, self.head_dim = heads, dim // heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.log_scale_H = nn.Parameter(torch.full((heads,), math.log(START))) if cosine else None
        self.scale = 1.0 if cosine else 0.25 / math.sqrt(self.head_dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_BLD: Tensor,
        lengths: Sequence[int] = (),
        cache: KVCache | None = None,
        layer: int = 0,
        position: int = 0,
        rotations_LP2: Tensor | None = None,
    ) -> Tensor:
        """(B, L, D) to (B, L, D).

        Args:
            x_BLD: A whole sequence; with a cache the positions of one scale.
            lengths: Positions of each scale of the whole sequence; not needed with a cache.
            cache: Holds keys and values of earlier scales, and takes these.
            layer: Index of the layer in the cache.
            position: Of the first new one.
            rotations_LP2: Rows of a rotary table for these positions; None for none.
        """
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x_BLD, self.qkv.weight, bias).unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = qkv.unbind(2)  # (B, L, heads, head_dim)
        if self.log_scale_H is not None:
            scale_H1 = self.log_scale_H.clamp(max=math.log(MOST)).exp()[:, None]
            q, k = F.normalize(q.float(), dim=-1) * scale_H1, F.normalize(k.float(), dim=-1)
        if rotations_LP2 is not None:
            q, k = rotate(q, rotations_LP2), rotate(k, rotations_LP2)
        q, k, v = (part.type_as(v).transpose(1, 2) for part in (q, k, v))
        if cache is None:
            out_BHLD = block_causal_attention(q, k, v, lengths, self.scale)
        else:
            out_BHLD = F.scaled_dot_product_attention(q, *cache.append(layer, k, v, position), scale=self.scale)
        return self.dropout(self.out(out_BHLD.transpose(1, 2).flatten(2)))
