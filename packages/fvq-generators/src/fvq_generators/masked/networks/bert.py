"""BERT (Devlin et al., 2019), as in MaskGIT and, with other details, as TiTok's ImageBert."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.registry.argument_types import check_sizes

from ...layers import MLP, BidirectionalAttention
from .network import NETWORKS, MaskedNetwork, init_truncated


class PostNormBlock(nn.Module):
    """`norm(x + attention(x))`, then `norm(x + ffn(x))`."""

    def __init__(
        self,
        dim: int,
        heads: int,
        width: int,
        gelu: Literal['tanh', 'none'],
        dropout: float,
        attention_dropout: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.attention = BidirectionalAttention(dim, heads, dropout=attention_dropout, out_dropout=dropout)
        self.attention_norm = nn.LayerNorm(dim, norm_eps)
        self.ffn = MLP(dim, width, dropout, approximate=gelu)
        self.ffn_norm = nn.LayerNorm(dim, norm_eps)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = self.attention_norm(x_BLD + self.attention(x_BLD))
        return self.ffn_norm(x_BLD + self.ffn(x_BLD))


@NETWORKS.register_module()
class BERT(MaskedNetwork):
    """Class token and codes with learned positions through post-norm blocks.

    Args:
        length: Codes of an image.
        dim: Channels D; 768 in both releases.
        depth: Blocks; 24.
        heads: Attention heads; 16 in the released configs, 8 in MaskGIT's paper.
        width: Hidden channels of the feed-forward layers; 4 D by default.
        gelu: GELU by `'tanh'` as in MaskGIT, or exact, `'none'`, as in TiTok.
        transform: Linear layer, GELU and norm before the head, as in MaskGIT.
        dropout: Dropout of embeddings and branches.
        attention_dropout: Dropout of the attention weights.
        norm_eps: Epsilon of the norms.
    """

    def __init__(
        self,
        length: int,
        dim: int = 768,
        depth: int = 24,
        heads: int = 16,
        width: int | None = None,
        gelu: Literal['tanh', 'none'] = 'tanh',
        transform: bool = True,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        width = 4 * dim if width is None else width
        check_sizes('BERT', dim=dim, depth=depth, heads=heads, width=width)
        self.dim, self.gelu = dim, gelu
        self.positions = nn.Parameter(torch.empty(1 + length, dim))
        self.norm = nn.LayerNorm(dim, norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            PostNormBlock(dim, heads, width, gelu, dropout, attention_dropout, norm_eps) for _ in range(depth)
        )
        self.transform = nn.Linear(dim, dim) if transform else None
        self.transform_norm = nn.LayerNorm(dim, norm_eps) if transform else None
        init_truncated(self, self.init_std)
        nn.init.trunc_normal_(self.positions, std=self.init_std, a=-2 * self.init_std, b=2 * self.init_std)

    def hidden(self, x_BLD: Tensor, class_B1D: Tensor) -> Tensor:
        """What the blocks give for class and codes, (B, 1 + L, D)."""
        x_BLD = self.dropout(self.norm(torch.cat([class_B1D, x_BLD], dim=1) + self.positions))
        for block in self.blocks:
            x_BLD = self.run(block, x_BLD)
        return x_BLD

    def output(self, x_BLD: Tensor) -> Tensor:
        """What the head reads of that, (..., D)."""
        if self.transform is None or self.transform_norm is None:
            return x_BLD
        return self.transform_norm(F.gelu(self.transform(x_BLD), approximate=self.gelu))

    def forward(self, x_BLD: Tensor, class_B1D: Tensor, prepared: Any = None) -> Tensor:
        return self.output(self.hidden(x_BLD, class_B1D)[:, 1:])
