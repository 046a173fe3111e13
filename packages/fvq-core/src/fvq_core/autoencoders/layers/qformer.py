"""Queries that read a memory: the decoder of DETR (Carion et al., 2020, appendix A.3), as GigaTok's Q-Formers use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...registry.argument_types import check_sizes
from .levels import run_block
from .vit_block import MLP


class QFormerBlock(nn.Module):
    """Self-attention of the queries, attention to the memory, MLP; each behind a LayerNorm, which the memory has not.

    Positions are added to what attention compares, never to what it passes on.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f'QFormerBlock: width {width} is not a multiple of {heads} heads; change one of them.')
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x_BLC: Tensor, memory_BNC: Tensor, positions_LC: Tensor, memory_positions_NC: Tensor) -> Tensor:
        """Queries (B, L, C) and memory (B, N, C), each with its positions, to queries."""
        h_BLC = self.norm1(x_BLC)
        placed_BLC = h_BLC + positions_LC
        x_BLC = x_BLC + self.self_attn(placed_BLC, placed_BLC, h_BLC, need_weights=False)[0]
        placed_BLC, keys_BNC = self.norm2(x_BLC) + positions_LC, memory_BNC + memory_positions_NC
        x_BLC = x_BLC + self.cross_attn(placed_BLC, keys_BNC, memory_BNC, need_weights=False)[0]
        return x_BLC + self.mlp(self.norm3(x_BLC))


class QFormer(nn.Module):
    """Blocks around one memory, then a LayerNorm; queries and memory have learned positions.

    Args:
        queries, memory: L and N, their lengths.
        width, depth, heads: Channels, number of blocks, and attention heads of each.
        checkpointing: Recompute each block in the backward pass.
    """

    def __init__(
        self, queries: int, memory: int, width: int, depth: int, heads: int, checkpointing: bool = False
    ) -> None:
        super().__init__()
        check_sizes('QFormer', queries=queries, memory=memory, width=width, depth=depth, heads=heads)
        self.checkpointing = checkpointing
        self.positions = nn.Parameter(width**-0.5 * torch.randn(queries, width))
        self.memory_positions = nn.Parameter(width**-0.5 * torch.randn(memory, width))
        self.blocks = nn.ModuleList(QFormerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, queries_BLC: Tensor, memory_BNC: Tensor) -> Tensor:
        """(B, L, C) and (B, N, C) to (B, L, C)."""
        others = (memory_BNC, self.positions, self.memory_positions)
        for block in self.blocks:
            queries_BLC = run_block(block, queries_BLC, self.checkpointing, *others)
        return self.norm(queries_BLC)
