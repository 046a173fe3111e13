"""The transformer of Halton-MaskGIT (Besnier et al., 2025): a class modulates every block, as in DiT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.positions import Grid, Positions
from fvq_core.registry.argument_types import check_sizes

from ...layers import AdaLayerNorm, AdaLNBlock, BidirectionalAttention, Modulation, RMSNorm, SwiGLU, init_xavier
from ...layers.swiglu import swiglu_width
from .network import NETWORKS, MaskedNetwork


@NETWORKS.register_module()
class ModulatedTransformer(MaskedNetwork):
    """Codes with learned positions, then register tokens, through blocks whose norms and branches a class scales and shifts.

    The published sizes (depth x dim, heads): tiny 6 x 384, 6; small 12 x 512, 6; base 12 x 768, 12; large 24 x 1024, 16;
    XL 28 x 1152, 16.

    Args:
        length: Codes of an image.
        dim: Channels D.
        depth: Blocks.
        heads: Attention heads.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        hidden_factor: Scales that width before it is rounded.
        registers: Tokens behind the codes that stand for nothing.
        merge: Merge each 2x2 codes of a grid into one token before the blocks, and take them apart before the last norm.
        dropout: Dropout of attention weights and of both branches' results. The release drops hidden channels of the
            feed-forward layer instead of its result.
        norm_eps: Epsilon of the norms.
        positions: Those of the codes, given by `MaskGIT`.

    Raises:
        UserError: Sizes that do not fit, or codes to be merged that are not on a grid of even sides.
    """

    def __init__(
        self,
        length: int,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden_multiple: int = 256,
        hidden_factor: float | None = None,
        registers: int = 1,
        merge: bool = False,
        dropout: float = 0.1,
        norm_eps: float = 1e-5,
        positions: Positions | None = None,
    ) -> None:
        super().__init__()
        check_sizes('ModulatedTransformer', dim=dim, depth=depth, heads=heads, hidden_multiple=hidden_multiple)
        if registers < 0:
            raise UserError(f'ModulatedTransformer: registers must be 0 or more, got {registers}.')
        self.dim, self.length, self.grid = dim, length, positions
        if merge and not (isinstance(positions, Grid) and positions.height % 2 == positions.width % 2 == 0):
            raise UserError(f'ModulatedTransformer: merge needs a Grid of even sides, got {positions}; leave it out.')
        self.merge_in = nn.Linear(4 * dim, dim, bias=False) if merge else None
        self.merge_out = nn.Linear(dim, 4 * dim, bias=False) if merge else None
        self.positions = nn.Parameter(torch.empty(length, dim))
        self.registers = nn.Parameter(torch.empty(registers, dim)) if registers else None
        width = swiglu_width(dim, hidden_multiple, hidden_factor)
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                BidirectionalAttention(dim, heads, False, False, True, dropout, dropout),
                SwiGLU(dim, width, dropout),
                RMSNorm(dim, norm_eps),
                RMSNorm(dim, norm_eps),
                Modulation(dim),
            )
            for _ in range(depth)
        )
        self.norm = AdaLayerNorm(RMSNorm(dim, norm_eps, bias=True), Modulation(dim, 2))
        self.apply(init_xavier)
        for block in self.blocks:
            nn.init.zeros_(cast(Any, block).modulation.linear.weight)
        nn.init.normal_(self.positions, std=self.init_std)
        if self.registers is not None:
            nn.init.normal_(self.registers, std=self.init_std)

    def prepare(self, class_B1D: Tensor) -> Sequence[Tensor]:
        """The modulation of each block."""
        return [cast(AdaLNBlock, block).modulation(class_B1D) for block in self.blocks]

    def forward(self, x_BLD: Tensor, class_B1D: Tensor, prepared: Sequence[Tensor] | None = None) -> Tensor:
        x_BLD = self.merged(x_BLD + self.positions)
        L = x_BLD.shape[1]
        if self.registers is not None:
            x_BLD = torch.cat([x_BLD, self.registers.expand(len(x_BLD), -1, -1)], dim=1)
        for number, block in enumerate(self.blocks):
            parts = None if prepared is None else prepared[number]
            x_BLD = self.run(block, x_BLD, class_B1D) if parts is None else block(x_BLD, None, parts_BL6D=parts)
        return self.norm(self.taken_apart(x_BLD[:, :L]), class_B1D)

    def merged(self, x_BLD: Tensor) -> Tensor:
        """Each 2x2 codes as one token, (B, L / 4, D)."""
        if self.merge_in is None:
            return x_BLD
        x_BhywxD = x_BLD.unflatten(1, (cast(Grid, self.grid).height // 2, 2, -1, 2))
        return self.merge_in(x_BhywxD.permute(0, 1, 3, 5, 2, 4).flatten(3).flatten(1, 2))

    def taken_apart(self, x_BTD: Tensor) -> Tensor:
        """The reverse, (B, L, D)."""
        if self.merge_out is None:
            return x_BTD
        x_BhwDyx = (
            self.merge_out(x_BTD).unflatten(2, (self.dim, 2, 2)).unflatten(1, (cast(Grid, self.grid).height // 2, -1))
        )
        return x_BhwDyx.permute(0, 1, 4, 2, 5, 3).flatten(1, 4)
