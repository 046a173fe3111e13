"""Rotary position embeddings (Su et al., 2021) of sequences, grids and pyramids.

A table holds (cos, sin) of the angle by which each pair of neighbouring channels is turned: (L, head_dim / 2, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.positions import Grid, Positions, Pyramid


def angular_frequencies(dim: int, base: float) -> Tensor:
    """`base^(-2 i / dim)` for i below dim / 2: (dim / 2,)."""
    return 1.0 / base ** (torch.arange(0, dim - dim % 2, 2).float() / dim)


def cos_sin(angles: Tensor) -> Tensor:
    """Angles (..., P) to (..., P, 2)."""
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def sequence_rotations(length: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """The table of a 1-D sequence, (length, head_dim / 2, 2); `head_dim` is even."""
    if head_dim % 2:
        raise UserError(
            f'rotary embedding: a head has an even number of channels, got {head_dim}; change dim or heads.'
        )
    return cos_sin(torch.outer(torch.arange(length).float(), angular_frequencies(head_dim, base)))


def grid_rotations(height: int, width: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """The table of a grid in reading order, (height * width, head_dim / 2, 2); `head_dim` is a multiple of 4.

    The first half of the pairs turns with the row, the second with the column.
    """
    if head_dim % 4:
        raise UserError(
            f'rotary embedding: on a grid the channels of a head are a multiple of 4, got {head_dim}; change dim or heads.'
        )
    frequencies = angular_frequencies(head_dim // 2, base)
    rows = torch.outer(torch.arange(height).float(), frequencies)
    columns = torch.outer(torch.arange(width).float(), frequencies)
    angles = torch.cat([rows[:, None].expand(height, width, -1), columns[None].expand(height, width, -1)], dim=-1)
    return cos_sin(angles.flatten(0, 1))


def pyramid_rotations(pyramid: Pyramid, head_dim: int, height: int, width: int, base: float = 10000.0) -> Tensor:
    """The table of a pyramid, (L, head_dim / 2, 2): every scale is spread over one grid (Infinity, Han et al., 2025).

    Position (i, j) of a scale h x w turns as (i height / h, j width / w) of the grid, rounded.
    """
    table = grid_rotations(height, width, head_dim, base).unflatten(0, (height, width))
    rows, columns = (
        [(torch.arange(scale[axis]) * (side / scale[axis])).round().long() for scale in pyramid.scales]
        for axis, side in enumerate((height, width))
    )
    return torch.cat([table[i][:, j].flatten(0, 1) for i, j in zip(rows, columns, strict=True)])


def with_condition_rows(table: Tensor, rows: int) -> Tensor:
    """Rows of zeros for the condition's tokens before the table.

    As released, they are zeros and not ones: cos and sin are both 0, so that query and key of a class or caption token
    are the zero vector. Every code then weighs the condition's tokens alike, and only their values tell them apart.
    """
    return torch.cat([table.new_zeros(rows, *table.shape[1:]), table])


def positions_table(
    positions: Positions, head_dim: int, condition_tokens: int, device: torch.device, base: float = 10000.0
) -> Tensor:
    """The table of condition tokens and codes, two-dimensional on a grid: (condition_tokens + L, head_dim / 2, 2)."""
    with torch.device(device):
        if isinstance(positions, Grid):
            table = grid_rotations(positions.height, positions.width, head_dim, base)
        else:
            table = sequence_rotations(positions.length, head_dim, base)
        return with_condition_rows(table, condition_tokens)


def rotate(x_BLHD: Tensor, table_LP2: Tensor) -> Tensor:
    """Turn neighbouring channel pairs of every head; computed in float32, returned in the input's dtype.

    Args:
        x_BLHD: (B, L, heads, head_dim).
        table_LP2: (L, head_dim / 2, 2), the rows of these L positions, or each sequence's own (B, L, head_dim / 2, 2).
    """
    pairs = x_BLHD.float().unflatten(-1, (-1, 2))
    if (
        not torch.compiler.is_compiling()
    ):  # one kernel for all; a compiler makes one of real numbers, and none of complex ones
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(table_LP2).unsqueeze(-2)
        return torch.view_as_real(turned).flatten(-2).type_as(x_BLHD)
    cos, sin = (part.unsqueeze(-2) for part in table_LP2.unbind(-1))  # (L, 1, P)
    a, b = pairs.unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2).type_as(x_BLHD)
