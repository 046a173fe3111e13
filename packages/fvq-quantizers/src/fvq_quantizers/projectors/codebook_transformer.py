"""TransVQ: a transformer with linear attention over the whole codebook (Lu et al., 2026, arXiv 2602.18896)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module()
class CodebookTransformer(Projector):
    """Raw codebook (K, source_dim) to mapped codebook (K, D): a linear map, learned positions, blocks, LayerNorm, a linear map.

    Each code is a token. Attention is linear, phi(q) (phi(k)^T v) / phi(q) sum phi(k) with phi = ELU + 1 (Katharopoulos et
    al., 2020), so the cost grows with K, not K^2. As released the raw codebook is N(0, 1 / D) and frozen (`Frozen`,
    `NormalInit`), and there is no dropout.

    Args:
        source_dim: Width of the raw codebook; D by default.
        hidden_dim: Width of the blocks; 256 as released.
        depth: Number of blocks; 1 as released.
        num_heads: 1 as released.
        mlp_ratio: Hidden width of a block's MLP over `hidden_dim`; 2 as released.

    Raises:
        UserError: Widths, heads or a ratio below 1, a negative depth, or heads that do not divide `hidden_dim`.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        source_dim: int | None = None,
        hidden_dim: int = 256,
        depth: int = 1,
        num_heads: int = 1,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__(codebook_size, code_dim, source_dim)
        if min(self.source_dim, hidden_dim, num_heads) < 1 or depth < 0 or not mlp_ratio > 0 or hidden_dim % num_heads:
            raise UserError(
                'CodebookTransformer: source_dim, hidden_dim and num_heads must be 1 or more, depth 0 or more, mlp_ratio above '
                f'0, and heads divide the width, got {self.source_dim}, {hidden_dim}, {num_heads}, {depth} and {mlp_ratio}.'
            )
        self.compress = nn.Linear(self.source_dim, hidden_dim, bias=False)
        self.positions = nn.Parameter(torch.empty(codebook_size, hidden_dim).normal_())
        self.blocks = nn.Sequential(*[LinearAttentionBlock(hidden_dim, num_heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(hidden_dim)
        self.expand = nn.Linear(hidden_dim, code_dim, bias=False)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return self.expand(self.norm(self.blocks(self.compress(codebook_KD) + self.positions)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Narrow blocks; their number stays."""
        return dict(hidden_dim=16, num_heads=1)


class LinearAttentionBlock(nn.Module):
    """Pre-norm linear attention and MLP of tokens (K, hidden_dim)."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(self.norm1(tokens)).unflatten(1, (3, self.num_heads, -1)).permute(1, 2, 0, 3)
        )  # (heads, K, d)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        share = (q * k.sum(1, keepdim=True)).sum(2, keepdim=True) + 1e-6
        mixed = (q @ (k.transpose(1, 2) @ v) / share).transpose(0, 1).flatten(1)
        tokens = tokens + self.proj(mixed)
        return tokens + self.mlp(self.norm2(tokens))
