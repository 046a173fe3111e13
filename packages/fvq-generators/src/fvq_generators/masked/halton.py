"""The order of codes along a Halton sequence (Besnier et al., 2025): each next one far from those before it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Grid
from fvq_core.errors import UserError

BASES = (2, 3)  # of rows and columns


def radical_inverse(number: int, base: int) -> tuple[int, int]:
    """The digits of a whole number mirrored at the point, as a fraction: 6 = 110 in base 2 becomes 0.011, (3, 8)."""
    value, scale = 0, 1
    while number:
        number, digit = divmod(number, base)
        value, scale = value * base + digit, scale * base
    return value, scale


@cache
def halton_positions(height: int, width: int) -> tuple[int, ...]:
    """All positions of a grid in the order in which the points of a 2-D Halton sequence first meet them.

    Returns:
        Numbers of positions in reading order, (L,).
    """
    found: dict[int, None] = {}
    number = 0
    while len(found) < height * width:
        number += 1
        (a, rows), (b, columns) = (radical_inverse(number, base) for base in BASES)
        row, column = a * height // rows, b * width // columns
        found.setdefault(row * width + column)
    return tuple(found)


def halton_order(layout: CodeLayout) -> Tensor:
    """The Halton order of a layout's codes, int64 (L,).

    Raises:
        UserError: The codes are not on a grid.
    """
    positions = layout.positions
    if not isinstance(positions, Grid):
        raise UserError(
            f"sampling: order='halton' spreads codes over a Grid, and these are {layout}; use order='confidence'."
        )
    return torch.tensor(halton_positions(positions.height, positions.width))
