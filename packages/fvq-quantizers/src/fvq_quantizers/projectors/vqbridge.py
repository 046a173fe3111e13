"""VQBridge: compress the codebook into tokens, let ViT blocks mix them, expand back (the paper, section 3.2, eq. 8-11)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS

from .codebook_bridge import CodebookBridge, Patching

Positions = Literal['none', 'sincos', 'learned']


@PROJECTORS.register_module()
class VQBridge(CodebookBridge):
    """Raw codebook (K, D) to mapped codebook (K, D), every code a function of all codes.

    The codebook is cut into K / p tokens of p codes; a shared linear map takes each token to `hidden_dim`; `depth`
    pre-norm ViT blocks mix the tokens; a LayerNorm and a shared linear map take each back to p codes. LayerNorms have no
    affine part (eps 1e-6), and GELU is the tanh approximation, as released.

    What the paper leaves open, and our choices:

    - *Which codes form a token.* `'sequence'` takes p consecutive codes (eq. 8), for any K that p divides. `'grid'`
      lays the codebook out as a square and takes square patches, as the released code does; K and p must be squares.
    - *LayerNorm after the compression.* The text has one, the released code does not; with codes of size 1/K it changes
      the method (without it, the first LayerNorm acts on tokens of rms 5e-5). Default: without, as released.
    - *The initial scale of the output map*, which matters a lot: `output_scale` times Xavier-uniform. 0 is the released
      zero start, where all codes are equal and the raw codebook gets no gradient for one step.
    - *How similar the p slots of a token start.* The output map has a block of weights per slot. If they start
      independently, one slot's codes can lie so badly that none is ever used; its block then never gets a gradient, and
      a p-th of the codebook stays dead. So the blocks share a common start, and `slot_spread` of each is its own.
      `docs/vqbridge.md` has the measurements behind both defaults.
    - *Positions of the tokens.* The paper mentions none: tokens are then a set, and permuting them only permutes the codes.
      The bridge that the release trains adds fixed sine-cosine positions (`DiTBridge`). Default: none.
    - *Register tokens* (Darcet et al., 2024): learned tokens that the blocks see next to those of the codebook and that are
      dropped afterwards. Not in the paper; they can hold what concerns the whole codebook if each code is a token (p = 1).

    Args:
        patch_size: p, codes per token. The paper scales it with K: 4 at 4k, 16 at 16k, 64 at 65k and 262k (figure 6).
        hidden_dim: d', the width of the blocks; `code_dim` by default, the best choice of figure 6.
        depth: Number of blocks; 2 in the paper.
        num_heads: 4 in the paper.
        mlp_ratio: Hidden width of a block's MLP over `hidden_dim`; 2 in the paper.
        output_scale: Initial scale of the output map over Xavier-uniform, 0 or more.
        slot_spread: Share of a slot's initial weights that is its own, 0 (all slots equal) to 1 (independent).
        positions: Added to the tokens before the blocks: `'none'`, `'sincos'` (fixed; 2-D for the grid) or `'learned'`
            (initially N(0, 0.02^2)).
        registers: Number of register tokens (initially N(0, 0.02^2)).

    Raises:
        UserError: p does not divide K (or, for the grid, they are not fitting squares); heads do not divide `hidden_dim`;
            unknown positions, or a width that sine-cosine positions cannot have; a negative number of registers.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        patch_size: int = 16,
        hidden_dim: int | None = None,
        depth: int = 2,
        num_heads: int = 4,
        mlp_ratio: float = 2.0,
        patching: Patching = 'sequence',
        compression_norm: bool = False,
        output_scale: float = 0.1,
        slot_spread: float = 0.3,
        positions: Positions = 'none',
        registers: int = 0,
    ) -> None:
        from timm.models.vision_transformer import Block  # seconds that a folded tokenizer does not need

        hidden_dim = code_dim if hidden_dim is None else hidden_dim
        sizes = codebook_size, code_dim, patch_size, hidden_dim
        super().__init__(*sizes, depth, num_heads, mlp_ratio, patching, output_scale, slot_spread)
        if positions not in ('none', 'sincos', 'learned'):
            raise UserError(f"VQBridge: positions must be 'none', 'sincos' or 'learned', got {positions!r}.")
        if registers < 0:
            raise UserError(f'VQBridge: registers must be 0 or more, got {registers}.')
        # Any: timm annotates these as classes, but takes anything that builds a module.
        norm: Any = partial(nn.LayerNorm, elementwise_affine=False, eps=1e-6)
        act: Any = partial(nn.GELU, approximate='tanh')
        self.compression_norm = norm(hidden_dim) if compression_norm else nn.Identity()
        block = partial(Block, hidden_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=norm, act_layer=act)
        self.blocks = nn.Sequential(*[block() for _ in range(depth)])
        self.norm = norm(hidden_dim)
        self.add_output()
        self.registers = learned_tokens(registers, hidden_dim) if registers else None
        if positions == 'learned':
            self.positions = learned_tokens(codebook_size // patch_size, hidden_dim)
        else:
            self.register_buffer('positions', self.sincos_table() if positions == 'sincos' else None)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        tokens = self.compression_norm(self.compress(self.patchify(codebook_KD)))
        if self.positions is not None:
            tokens = tokens + self.positions
        count = tokens.shape[0]
        if self.registers is not None:
            tokens = torch.cat([tokens, self.registers])
        tokens = self.blocks(tokens.unsqueeze(0)).squeeze(0)[:count]
        return self.unpatchify(self.expand(self.norm(tokens)))


def learned_tokens(count: int, dim: int) -> nn.Parameter:
    """(count, dim), N(0, 0.02^2), as ViT initializes its tokens."""
    return nn.Parameter(torch.empty(count, dim).normal_(std=0.02))
