"""Texts for cross-attention: a vector for each word, and one that is pooled of all (Infinity, Han et al., 2025)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .caption_embedding import Captions
from .cross_attention import CrossAttention, Text
from .rms_norm import RMSNorm

WIDEST, HEAD_CHANNELS = 4096, (128, 64)  # of the features, a head of the pool; models that are wider have the second
UNCONDITIONAL_STD = 1.2


class TextEmbedding(Captions):
    """Features of a text encoder, normalized; a learned text of the same number of words stands for none.

    Args:
        caption_dim: Channels C of the features; 2,048 of Flan-T5-XL.
        dim: Channels D.
        tokens: Feature vectors T of a caption with its padding; 512 in the release.
        dropout: Share of the captions that training replaces by none.
        eps: Of the norm.
        pool_heads: Heads of the pool; by default one for 128 channels of the features, or 64 if D is above 4,096.
    """

    def __init__(
        self,
        caption_dim: int,
        dim: int,
        tokens: int = 512,
        dropout: float = 0.1,
        eps: float = 1e-6,
        pool_heads: int | None = None,
    ) -> None:
        super().__init__(caption_dim, tokens, dropout)
        self.unconditional_TC = nn.Parameter(torch.empty(tokens, caption_dim))
        self.norm = RMSNorm(caption_dim, eps)
        heads = pool_heads or max(1, caption_dim // HEAD_CHANNELS[dim > WIDEST])
        self.pool = CrossAttention(dim, heads, caption_dim, pool=True)
        self.inner, self.outer = nn.Linear(caption_dim, dim), nn.Linear(dim, dim)
        with torch.no_grad():
            nn.init.trunc_normal_(self.unconditional_TC, std=UNCONDITIONAL_STD).div_(caption_dim**0.5)

    def null(self, captions_BTC: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """The text for none, for as many, its first words where each caption has its own."""
        if mask_BT is None:
            return self.unconditional_TC.to(captions_BTC.dtype).expand_as(captions_BTC)
        words_BT = (mask_BT.long().cumsum(1) - 1).clamp(min=0)
        return self.unconditional_TC.to(captions_BTC.dtype)[words_BT]

    def drop(self, captions_BTC: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Captions with a random share replaced by none."""
        dropped_B = torch.rand(captions_BTC.shape[0], device=captions_BTC.device) < self.drop_rate
        return torch.where(dropped_B[:, None, None], self.null(captions_BTC, mask_BT), captions_BTC)

    def forward(self, captions_BTC: Tensor, mask_BT: Tensor | None = None) -> tuple[Tensor, Text]:
        """Captions (B, T, C) of any float dtype, and which of their vectors are words, to a vector (B, 1, D) and the text."""
        captions_BTC = captions_BTC.to(self.inner.weight.dtype)
        if self.training and self.drop_rate > 0:
            captions_BTC = self.drop(captions_BTC, mask_BT)
        captions_BTC = self.norm(captions_BTC)
        pooled_B1D = self.pool(None, Text(captions_BTC, mask_BT))
        tokens_BTD = self.outer(F.gelu(self.inner(captions_BTC), approximate='tanh'))
        return pooled_B1D, Text(tokens_BTD, mask_BT)
