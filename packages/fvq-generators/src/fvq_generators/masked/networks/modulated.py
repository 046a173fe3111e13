"""The transformer of Halton-MaskGIT (Besnier et al., 2025): a class modulates every block, as in DiT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry.argument_types import check_sizes

from ...layers import AdaLayerNorm, AdaLNBlock, BidirectionalAttention, Modulation, RMSNorm, SwiGLU
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
        dropout: Dropout of attention weights and of both branches' results. The release drops hidden channels of the
            feed-forward layer instead of its result.
        norm_eps: Epsilon of the norms.
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
        dropout: float = 0.1,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_sizes('ModulatedTransformer', dim=dim, depth=depth, heads=heads, hidden_multiple=hidden_multiple)
        if registers < 0:
            raise UserError(f'ModulatedTransformer: registers must be 0 or more, got {registers}.')
        self.dim, self.length = dim, length
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
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.blocks:
            nn.init.zeros_(cast(Any, block).modulation.linear.weight)
        nn.init.normal_(self.positions, std=self.init_std)
        if self.registers is not None:
            nn.init.normal_(self.registers, std=self.init_std)

    def prepare(self, class_B1D: Tensor) -> Sequence[Tensor]:
        """The modulation of each block."""
        return [cast(AdaLNBlock, block).modulation(class_B1D) for block in self.blocks]

    def forward(self, x_BLD: Tensor, class_B1D: Tensor, prepared: Sequence[Tensor] | None = None) -> Tensor:
        x_BLD = x_BLD + self.positions
        if self.registers is not None:
            x_BLD = torch.cat([x_BLD, self.registers.expand(len(x_BLD), -1, -1)], dim=1)
        for number, block in enumerate(self.blocks):
            parts = None if prepared is None else prepared[number]
            x_BLD = self.run(block, x_BLD, class_B1D) if parts is None else block(x_BLD, None, parts_BL6D=parts)
        return self.norm(x_BLD[:, : self.length], class_B1D)
