"""Squares of positions whose vectors are quantized as one (RQ-VAE's `code_shape` smaller than its `latent_shape`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fvq_core.codes import Grid, Positions
from fvq_core.errors import UserError

from .latents import to_vectors


class SpaceToDepth:
    """Joins rows x columns neighbouring positions of a latent into one vector, and splits them again.

    Args:
        block: Side of a square block, or (rows, columns).
        joined_dim: Channels E of a joined vector.

    Attributes:
        channels: Channels D of the latent: E / (rows * columns).
    """

    def __init__(self, block: int | Sequence[int], joined_dim: int) -> None:
        pair = (block, block) if isinstance(block, int) else tuple(block)
        if len(pair) != 2 or min(pair) < 1 or joined_dim % (pair[0] * pair[1]):
            raise UserError(
                f'ResidualQuantizer: space_to_depth {block} must be a side or (rows, columns) whose product divides the '
                f'code_dim of the wrapped quantizer, {joined_dim}.'
            )
        self.rows, self.columns = pair
        self.channels = joined_dim // (self.rows * self.columns)

    @property
    def is_identity(self) -> bool:
        """Whether positions stay as they are."""
        return self.rows == self.columns == 1

    def positions(self, positions: Positions) -> Positions:
        """The joined positions of a latent; raises unless it is a grid that the block divides."""
        if self.is_identity:
            return positions
        if not isinstance(positions, Grid):
            raise UserError(f'ResidualQuantizer: space_to_depth joins positions of a Grid, got {positions}; use 1.')
        height, width = positions.shape
        if height % self.rows or width % self.columns:
            raise UserError(
                f'ResidualQuantizer: space_to_depth joins {self.rows}x{self.columns} positions, which do not divide a '
                f'latent of {height}x{width}; use images of another size.'
            )
        return Grid(height // self.rows, width // self.columns)

    def latent_positions(self, joined: Positions) -> Positions:
        """The positions of the latent that are joined to these."""
        if self.is_identity or not isinstance(joined, Grid):
            return joined
        return Grid(joined.height * self.rows, joined.width * self.columns)

    def vectors(self, z_BDHW: Tensor) -> Tensor:
        """(B, D, H, W) to (N, E), float32: the channels of each joined position in turn, row by row."""
        if self.is_identity:
            return to_vectors(z_BDHW).float()
        B, D, H, W = z_BDHW.shape
        r, c = self.rows, self.columns
        joined = z_BDHW.float().view(B, D, H // r, r, W // c, c).permute(0, 2, 4, 3, 5, 1)  # (B, h, w, r, c, D)
        return joined.reshape(-1, r * c * D)

    def split(self, joined_BEhw: Tensor) -> Tensor:
        """A grid of joined vectors (B, E, h, w) to (B, D, H, W)."""
        if self.is_identity:
            return joined_BEhw
        r, c = self.rows, self.columns
        B, _, h, w = joined_BEhw.shape
        parted = joined_BEhw.view(B, r, c, self.channels, h, w).permute(0, 3, 4, 1, 5, 2)  # (B, D, h, r, w, c)
        return parted.reshape(B, -1, h * r, w * c)
