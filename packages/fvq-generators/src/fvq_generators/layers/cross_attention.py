"""Attention of image tokens to those of a text, and a vector that is pooled of a text (Infinity, Han et al., 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError

from .ada_layer_norm import AdaLNBlock, modulate

KeysAndValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Text:
    """What the blocks read of texts.

    Args:
        tokens_BTD: A vector for each word.
        mask_BT: bool, True for words, False for padding; None if there is no padding.
        kept: Keys and values of one block's attention, computed before, for they stay the same while an image is drawn.
    """

    tokens_BTD: Tensor
    mask_BT: Tensor | None = None
    kept: KeysAndValues | None = None

    def kept_for(self, block: CrossAttentionBlock) -> Text:
        """The same with what a block makes of it."""
        return replace(self, kept=block.cross_attention.keys_and_values(self.tokens_BTD))


class CrossAttention(nn.Module):
    """Multi-head attention to a text. Queries, values and the result have a bias; one of the keys would change nothing.

    Args:
        dim: Channels D.
        heads: Heads; they divide D.
        source_dim: Channels C of the text; D by default.
        dropout: Dropout of the result, in training.
        pool: In place of queries of image tokens there is one learned query, so that the result is a vector for each text.

    Raises:
        UserError: Heads that do not divide.
    """

    def __init__(
        self, dim: int, heads: int, source_dim: int | None = None, dropout: float = 0.0, pool: bool = False
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UserError(f'CrossAttention: heads must divide dim; got dim {dim}, heads {heads}.')
        self.heads = heads
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=math.sqrt(1 / dim / 3))) if pool else None
        self.q = None if pool else nn.Linear(dim, dim)
        self.kv = nn.Linear(source_dim or dim, 2 * dim, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def keys_and_values(self, source_BTC: Tensor) -> KeysAndValues:
        """Both (B, heads, T, head_dim)."""
        k_BTD, v_BTD = self.kv(source_BTC).chunk(2, dim=-1)
        k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (k_BTD, v_BTD + self.v_bias))
        return k, v

    def forward(self, x_BLD: Tensor | None, text: Text) -> Tensor:
        """(B, L, D) to (B, L, D); a pool takes None, and L is 1."""
        k, v = text.kept or self.keys_and_values(text.tokens_BTD)
        if self.q is None:
            assert self.query is not None
            q_BLD = self.query.expand(len(k), 1, -1)
        else:
            q_BLD = self.q(x_BLD)
        q = q_BLD.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mask = None if text.mask_BT is None else text.mask_BT[:, None, None]
        out_BHLD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.dropout(self.out(out_BHLD.transpose(1, 2).flatten(2)))


class CrossAttentionBlock(AdaLNBlock):
    """An `AdaLNBlock` with `x + cross_attention(norm(x), text)` between its branches, which the condition does not modulate.

    Args:
        cross_norm: Norm with weights.
        cross_attention: Attention to the text.
        parts: See `AdaLNBlock`.
    """

    def __init__(self, cross_norm: nn.Module, cross_attention: CrossAttention, *parts: Any) -> None:
        super().__init__(*parts)
        self.cross_norm, self.cross_attention = cross_norm, cross_attention

    def forward(
        self, x_BLD: Tensor, cond_BLC: Tensor | None, *attention: Any, parts_BL6D: Tensor | None = None
    ) -> Tensor:
        """See `AdaLNBlock`; the last argument is the `Text`."""
        text = attention[-1]
        if parts_BL6D is None:
            parts_BL6D = self.modulation(cond_BLC)
        gate1, gate2, scale1, scale2, shift1, shift2 = parts_BL6D.unbind(2)
        attended = self.attention(modulate(self.attention_norm(x_BLD), scale1, shift1), *attention[:-1])
        x_BLD = x_BLD + self.drop_path(gate1 * attended)
        x_BLD = x_BLD + self.cross_attention(self.cross_norm(x_BLD), text)
        return x_BLD + self.drop_path(gate2 * self.ffn(modulate(self.ffn_norm(x_BLD), scale2, shift2)))
