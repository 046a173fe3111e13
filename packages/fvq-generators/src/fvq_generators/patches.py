"""Patches of latents as tokens, and back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.registry.argument_types import check_sizes


class Patches:
    """Square patches of a layout, numbered in reading order.

    Args:
        owner: The model, for messages.
        layout: Of a `Grid`.
        side: Of a patch, in positions.

    Raises:
        UserError: A side that does not divide the grid.
    """

    def __init__(self, owner: str, layout: LatentLayout, side: int) -> None:
        self.shape, self.side = layout.positions.shape, side
        check_sizes(owner, patch_size=side)
        height, width = self.shape
        if height % side or width % side:
            raise UserError(f'{owner}: patch_size {side} does not divide a latent of {height} x {width}.')
        self.grid = (height // side, width // side)
        self.length, self.channels = self.grid[0] * self.grid[1], layout.channels * side**2

    def split(self, x_BDHW: Tensor) -> Tensor:
        """To (B, L, D * side * side), channels of the latent outermost."""
        return F.unfold(x_BDHW, self.side, stride=self.side).transpose(1, 2)

    def join(self, patches_BLC: Tensor) -> Tensor:
        """The inverse of `split`."""
        return F.fold(patches_BLC.transpose(1, 2), self.shape, self.side, stride=self.side)

    def join_innermost(self, patches_BLC: Tensor) -> Tensor:
        """Patches (B, L, side * side * D) with channels innermost, as DiT's head has them, to (B, D, H, W)."""
        x = patches_BLC.unflatten(1, self.grid).unflatten(-1, (self.side, self.side, -1))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
