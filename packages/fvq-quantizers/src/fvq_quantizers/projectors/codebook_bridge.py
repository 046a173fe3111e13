"""The base of both bridges: cutting the codebook into tokens, the maps around the blocks, and their initialization."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.sincos_positions import grid_positions, sequence_positions
from fvq_core.projector import Projector

Patching = Literal['sequence', 'grid']


class CodebookBridge(Projector):
    """Base of `VQBridge` and `DiTBridge`, which add blocks between `compress` and `expand`; its arguments are theirs."""

    blocks: nn.Sequential | nn.ModuleList

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        patch_size: int,
        hidden_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        patching: Patching,
        output_scale: float,
        slot_spread: float,
    ) -> None:
        super().__init__(codebook_size, code_dim)
        name = type(self).__name__
        check_patches(name, codebook_size, patch_size, patching)
        if min(hidden_dim, num_heads) < 1 or depth < 0 or not mlp_ratio > 0:
            raise UserError(
                f'{name}: hidden_dim and num_heads must be 1 or more, depth 0 or more and mlp_ratio above 0, got {hidden_dim}, '
                f'{num_heads}, {depth} and {mlp_ratio}.'
            )
        if hidden_dim % num_heads:
            raise UserError(
                f'{name}: hidden_dim {hidden_dim} is not a multiple of num_heads {num_heads}; change one of them.'
            )
        if not 0.0 <= output_scale < math.inf:
            raise UserError(
                f'{name}: output_scale must be 0 or more, got {output_scale}; 0 is the released zero start.'
            )
        if not 0.0 <= slot_spread <= 1.0:
            raise UserError(f'{name}: slot_spread must lie in [0, 1], got {slot_spread}.')
        self.hidden_dim, self.patch_size, self.patching = hidden_dim, patch_size, patching
        self.output_scale, self.slot_spread = output_scale, slot_spread
        self.compress = nn.Linear(patch_size * code_dim, hidden_dim)

    def add_output(self) -> None:
        """Add the output map and initialize all linear maps so far: Xavier-uniform, biases zero."""
        self.expand = nn.Linear(self.hidden_dim, self.patch_size * self.code_dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            weight, own = self.expand.weight, self.slot_spread
            slots = weight.view(self.patch_size, self.code_dim, self.hidden_dim)
            common = nn.init.xavier_uniform_(torch.empty_like(weight)).view_as(slots)[:1]
            slots.mul_(own).add_(common, alpha=(1.0 - own**2) ** 0.5).mul_(self.output_scale)

    def patchify(self, codebook_KD: Tensor) -> Tensor:
        """(K, D) to tokens (K / p, p * D): the codes of a token in order, each with its D channels."""
        if self.patching == 'sequence':
            return codebook_KD.reshape(-1, self.patch_size * self.code_dim)
        side, patch = math.isqrt(self.codebook_size), math.isqrt(self.patch_size)
        grid = codebook_KD.reshape(side // patch, patch, side // patch, patch, self.code_dim)
        return grid.transpose(1, 2).reshape(-1, self.patch_size * self.code_dim)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """The inverse of `patchify`, for any leading axes: (..., K / p, p * D) to (..., K, D)."""
        shape = (*tokens.shape[:-2], self.codebook_size, self.code_dim)
        if self.patching == 'sequence':
            return tokens.reshape(shape)
        side, patch = math.isqrt(self.codebook_size), math.isqrt(self.patch_size)
        grid = tokens.reshape(*shape[:-2], side // patch, side // patch, patch, patch, self.code_dim)
        return grid.transpose(-4, -3).reshape(shape)

    def sincos_table(self) -> Tensor:
        """Fixed sine-cosine positions of the tokens, (K / p, hidden_dim): 2-D for square patches."""
        tokens, dim = self.codebook_size // self.patch_size, self.hidden_dim
        divisor = 4 if self.patching == 'grid' else 2
        if dim % divisor:
            raise UserError(
                f'{type(self).__name__}: hidden_dim {dim} is not a multiple of {divisor}, which the sine-cosine '
                f'positions of patching={self.patching!r} require; change it.'
            )
        side = math.isqrt(tokens)
        return grid_positions(side, side, dim) if self.patching == 'grid' else sequence_positions(tokens, dim)

    def fuse_attention(self, fused: bool) -> None:
        for block in self.blocks:
            cast(Any, block).attn.fused_attn = fused

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Four codes per token, narrow blocks; patching and depth stay."""
        return dict(patch_size=4, hidden_dim=16, num_heads=4)


def check_patches(name: str, codebook_size: int, patch_size: int, patching: str) -> None:
    """Raise if a codebook cannot be cut into patches, naming sizes that can."""
    if patching not in ('sequence', 'grid'):
        raise UserError(f"{name}: patching must be 'sequence' or 'grid', got {patching!r}.")
    if patch_size < 1 or codebook_size % patch_size:
        divisors = [d for d in range(1, codebook_size + 1) if codebook_size % d == 0]
        nearest = sorted(divisors, key=lambda d: abs(d - patch_size))[:2]
        choices = ' or '.join(str(d) for d in sorted(nearest))
        raise UserError(
            f'{name}: codebook_size {codebook_size} is not a multiple of patch_size {patch_size}; '
            f'choose a divisor such as {choices}.'
        )
    if patching == 'grid':
        side, patch = math.isqrt(codebook_size), math.isqrt(patch_size)
        if side * side != codebook_size or patch * patch != patch_size or side % patch:
            raise UserError(
                f"{name}: patching='grid' needs a square codebook cut into square patches, got codebook_size "
                f"{codebook_size} and patch_size {patch_size}; use patching='sequence'."
            )
