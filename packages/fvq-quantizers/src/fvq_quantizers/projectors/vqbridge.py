"""VQBridge: compress the codebook into tokens, let ViT blocks mix them, expand back (the paper, section 3.2, eq. 8-11)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module()
class VQBridge(nn.Module):
    """Raw codebook (K, D) to mapped codebook (K, D), every code a function of all codes.

    The codebook is cut into K / p tokens of p codes; a shared linear map takes each token to `hidden_dim`; `depth`
    pre-norm ViT blocks mix the tokens; a LayerNorm and a shared linear map take each back to p codes. No positional
    embedding; LayerNorms have no affine part (eps 1e-6); GELU by its tanh approximation, as released.

    What the paper leaves open, and what we chose:

    - *Which codes form a token.* `'sequence'` takes p consecutive codes (eq. 8), for any K that p divides. `'grid'`
      lays the codebook out as a square and takes square patches, as the released code does; K and p must be squares.
    - *LayerNorm after the compression.* The text has one, the released code does not, and with codes of size 1/K it
      changes the method (the first LayerNorm then acts on tokens of rms 5e-5). Default: without, as released.
    - *The starting scale of the output map*, which decides much of the result: `output_scale` times Xavier-uniform.
      0 is the released zero start, at which all codes are equal and the raw codebook gets no gradient for one step.
    - *How alike the p slots of a token start.* The output map has a block of weights for each slot. Started independently,
      one slot's codes can lie so badly that none is ever chosen; its block then never gets a gradient, and a p-th of the
      codebook is dead for good. The blocks therefore start from one common block, `slot_spread` of each its own.
      `docs/vqbridge.md` shows the measurements behind both defaults.

    Args:
        codebook_size: K.
        code_dim: D.
        patch_size: p, codes of one token. The paper scales it with K: 4 at 4k, 16 at 16k, 64 at 65k and 262k (figure 6).
        hidden_dim: d', the width of the blocks; `code_dim` by default, the best choice of figure 6.
        depth: Number of blocks; 2 in the paper.
        num_heads: 4 in the paper.
        mlp_ratio: Hidden width of a block's MLP over `hidden_dim`; 2 in the paper.
        patching: `'sequence'` or `'grid'`.
        compression_norm: Whether a LayerNorm follows the compression.
        output_scale: Starting scale of the output map, 0 or more.
        slot_spread: Share of a slot's starting weights that is its own, 0 (all slots equal) to 1 (independent).

    Raises:
        UserError: p does not divide K (or, for the grid, they are no fitting squares); heads do not divide `hidden_dim`.
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
        patching: Literal['sequence', 'grid'] = 'sequence',
        compression_norm: bool = False,
        output_scale: float = 0.1,
        slot_spread: float = 0.3,
    ) -> None:
        super().__init__()
        hidden_dim = code_dim if hidden_dim is None else hidden_dim
        check_patches(codebook_size, patch_size, patching)
        if hidden_dim % num_heads:
            raise UserError(
                f'VQBridge: hidden_dim {hidden_dim} is not a multiple of num_heads {num_heads}; change one of them.'
            )
        if output_scale < 0:
            raise UserError(
                f'VQBridge: output_scale must be 0 or more, got {output_scale}; 0 is the released zero start.'
            )
        if not 0.0 <= slot_spread <= 1.0:
            raise UserError(f'VQBridge: slot_spread must lie in [0, 1], got {slot_spread}.')
        self.codebook_size, self.code_dim, self.patch_size, self.patching = (
            codebook_size,
            code_dim,
            patch_size,
            patching,
        )
        # Any: timm wants classes here by its annotations, and takes what builds a module.
        norm: Any = partial(nn.LayerNorm, elementwise_affine=False, eps=1e-6)
        act: Any = partial(nn.GELU, approximate='tanh')
        self.compress = nn.Linear(patch_size * code_dim, hidden_dim)
        self.compression_norm = norm(hidden_dim) if compression_norm else nn.Identity()
        self.blocks = nn.Sequential(
            *[
                Block(hidden_dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=norm, act_layer=act)
                for _ in range(depth)
            ]
        )
        self.norm = norm(hidden_dim)
        self.expand = nn.Linear(hidden_dim, patch_size * code_dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            slots = self.expand.weight.view(patch_size, code_dim, hidden_dim)
            common = nn.init.xavier_uniform_(torch.empty_like(self.expand.weight)).view_as(slots)[:1]
            slots.mul_(slot_spread).add_(common, alpha=(1.0 - slot_spread**2) ** 0.5).mul_(output_scale)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        tokens = self.compression_norm(self.compress(self.patchify(codebook_KD)))
        tokens = self.blocks(tokens.unsqueeze(0)).squeeze(0)
        return self.unpatchify(self.expand(self.norm(tokens)))

    def patchify(self, codebook_KD: Tensor) -> Tensor:
        """(K, D) to tokens (K / p, p * D); within a token the codes are in order, each with its D channels."""
        if self.patching == 'sequence':
            return codebook_KD.reshape(-1, self.patch_size * self.code_dim)
        side, patch = math.isqrt(self.codebook_size), math.isqrt(self.patch_size)
        grid = codebook_KD.reshape(side // patch, patch, side // patch, patch, self.code_dim)
        return grid.transpose(1, 2).reshape(-1, self.patch_size * self.code_dim)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """The inverse of `patchify`."""
        if self.patching == 'sequence':
            return tokens.reshape(self.codebook_size, self.code_dim)
        side, patch = math.isqrt(self.codebook_size), math.isqrt(self.patch_size)
        grid = tokens.reshape(side // patch, side // patch, patch, patch, self.code_dim)
        return grid.transpose(1, 2).reshape(self.codebook_size, self.code_dim)

    def fuse_attention(self, fused: bool) -> None:
        """Switch between fused attention and plain matrix products, whose cost a FLOP counter can see."""
        for block in self.blocks:
            cast(Any, block).attn.fused_attn = fused

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Four codes a token, a narrow latent; patching and depth stay."""
        return dict(patch_size=4, hidden_dim=16, num_heads=4)


def check_patches(codebook_size: int, patch_size: int, patching: str) -> None:
    """Refuse a codebook that cannot be cut into patches, naming sizes that can."""
    if patching not in ('sequence', 'grid'):
        raise UserError(f"VQBridge: patching must be 'sequence' or 'grid', got {patching!r}.")
    if patch_size < 1 or codebook_size % patch_size:
        fitting = sorted(
            (d for d in range(1, codebook_size + 1) if codebook_size % d == 0), key=lambda d: abs(d - patch_size)
        )
        choices = ' or '.join(str(d) for d in sorted(fitting[:2]))
        raise UserError(
            f'VQBridge: codebook_size {codebook_size} is not a multiple of patch_size {patch_size}; '
            f'choose a divisor such as {choices}.'
        )
    if patching == 'grid':
        side, patch = math.isqrt(codebook_size), math.isqrt(patch_size)
        if side * side != codebook_size or patch * patch != patch_size or side % patch:
            raise UserError(
                f"VQBridge: patching='grid' needs a square codebook cut into square patches, got codebook_size "
                f"{codebook_size} and patch_size {patch_size}; use patching='sequence'."
            )
