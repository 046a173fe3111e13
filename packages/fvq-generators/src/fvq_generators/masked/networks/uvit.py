"""U-ViT (Bao et al., 2023): a vision transformer with long skip connections, TiTok's larger generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.registry.argument_types import check_sizes

from ...layers import MLP, BidirectionalAttention
from .network import NETWORKS, MaskedNetwork, init_truncated


class SkipBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + ffn(norm(x))`; before that x may be joined with an earlier block's result."""

    def __init__(self, dim: int, heads: int, width: int, skip: bool, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.skip = nn.Linear(2 * dim, dim) if skip else None
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = BidirectionalAttention(
            dim, heads, qkv_bias=False, dropout=attention_dropout, out_dropout=dropout
        )
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = MLP(dim, width, dropout, approximate='none')

    def forward(self, x_BLD: Tensor, earlier_BLD: Tensor | None = None) -> Tensor:
        if self.skip is not None and earlier_BLD is not None:
            x_BLD = self.skip(torch.cat([x_BLD, earlier_BLD], dim=-1))
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD))
        return x_BLD + self.ffn(self.ffn_norm(x_BLD))


@NETWORKS.register_module()
class UViT(MaskedNetwork):
    """Class token and codes with learned positions through `depth // 2` blocks, one in the middle, and as many again, each of
    which also reads the result of its counterpart.

    Args:
        length: Codes of an image.
        dim: Channels D; 1,024 in TiTok-S-128's generator.
        depth: See above; 20 there, which makes 21 blocks.
        heads: Attention heads; 16.
        width: Hidden channels of the feed-forward layers; 4 D by default.
        dropout: Dropout of the branches; the release ignores what its config says and has none.
        attention_dropout: Dropout of the attention weights; likewise.
    """

    def __init__(
        self,
        length: int,
        dim: int = 1024,
        depth: int = 20,
        heads: int = 16,
        width: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = 4 * dim if width is None else width
        check_sizes('UViT', dim=dim, depth=depth, heads=heads, width=width)
        self.dim, self.middle = dim, depth // 2
        self.positions = nn.Parameter(torch.empty(1 + length, dim))
        self.blocks = nn.ModuleList(
            SkipBlock(dim, heads, width, number > self.middle, dropout, attention_dropout)
            for number in range(2 * self.middle + 1)
        )
        self.norm = nn.LayerNorm(dim)
        init_truncated(self, self.init_std)
        nn.init.trunc_normal_(self.positions, std=self.init_std)

    def forward(self, x_BLD: Tensor, class_B1D: Tensor, prepared: Any = None) -> Tensor:
        x_BLD = torch.cat([class_B1D, x_BLD], dim=1) + self.positions
        earlier: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x_BLD = self.run(block, x_BLD, earlier.pop() if number > self.middle else None)
            if number < self.middle:
                earlier.append(x_BLD)
        return self.norm(x_BLD[:, 1:])
