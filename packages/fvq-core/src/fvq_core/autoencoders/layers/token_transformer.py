"""The transformer of TiTok's encoder and decoder: patches and a sequence of tokens, each with learned positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...registry.argument_types import check_sizes
from .levels import run_block
from .vit_block import SelfAttention, ViTBlock


class TokenTransformer(nn.Module):
    """[class token, patches, tokens, text] through a LayerNorm and pre-norm blocks; what becomes of the patches and the tokens.

    The class token gives nothing itself: the released weights have it.

    Args:
        patches: N, the number of patches.
        tokens: L, the number of tokens.
        width, depth, heads: Channels, number of blocks, and attention heads of each.
        text_length: T, the largest number of text tokens; 0 for none.
        checkpointing: Recompute each block in the backward pass.
    """

    def __init__(
        self,
        patches: int,
        tokens: int,
        width: int,
        depth: int,
        heads: int,
        checkpointing: bool = False,
        text_length: int = 0,
    ) -> None:
        super().__init__()
        check_sizes('TokenTransformer', width=width, depth=depth, heads=heads, tokens=tokens)
        self.checkpointing = checkpointing

        def learned(*length: int) -> nn.Parameter:
            return nn.Parameter(width**-0.5 * torch.randn(*length, width))

        self.class_token = learned()
        self.positions = learned(1 + patches)
        self.token_positions = learned(tokens)
        self.text_positions = learned(text_length) if text_length else None
        self.norm_in = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(depth))

    def forward(self, patches_BNC: Tensor, tokens_BLC: Tensor, text_BTC: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, C), (B, L, C) and at most T text tokens to patches and tokens, before any last norm."""
        B, N, _ = patches_BNC.shape
        patches_BNC = torch.cat([self.class_token.expand(B, 1, -1), patches_BNC], 1) + self.positions
        parts = [patches_BNC, tokens_BLC + self.token_positions]
        if text_BTC is not None and self.text_positions is not None:
            parts.append(text_BTC + self.text_positions[: text_BTC.shape[1]])
        h_BTC = self.norm_in(torch.cat(parts, 1))
        for block in self.blocks:
            h_BTC = run_block(block, h_BTC, self.checkpointing)
        return h_BTC[:, 1 : 1 + N], h_BTC[:, 1 + N : 1 + N + tokens_BLC.shape[1]]


def initialize(module: nn.Module, std: float = 0.02) -> None:
    """TiTok's start: linear maps and convolutions from a normal distribution cut at 2, attention's input as Xavier's."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, SelfAttention):
            nn.init.xavier_uniform_(part.qkv.weight)
