"""Fixed sine-cosine position tables (Vaswani et al., 2017, section 3.5; in two dimensions as in MAE and DiT)."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PERIOD = 10000.0


def sequence_positions(length: int, dim: int) -> Tensor:
    """Table (length, dim), float32: sin(t w_i) in the first half, cos(t w_i) in the second, w_i = 10000^(-2i / dim)."""
    return encode(length, dim).float()


def grid_positions(height: int, width: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Table (height * width, dim), float32, in reading order: the first half encodes the column, the second the row."""
    columns = encode(width, dim // 2, device).float().expand(height, width, -1)
    rows = encode(height, dim // 2, device).float()[:, None].expand(height, width, -1)
    return torch.cat([columns, rows], -1).flatten(0, 1)


def encode(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """(length, dim) in float64: with float32 angles, entries at thousands of positions would be off by 1e-4."""
    assert dim % 2 == 0
    frequencies = MAX_PERIOD ** (-torch.arange(dim // 2, dtype=torch.float64, device=device) / (dim / 2))
    angles = torch.outer(torch.arange(length, dtype=torch.float64, device=device), frequencies)
    return torch.cat([angles.sin(), angles.cos()], 1)
