"""The gated feed-forward layer of Llama (Shazeer, 2020)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .linear import Linear


def swiglu_width(dim: int, multiple: int = 256, factor: float | None = None) -> int:
    """Hidden channels: two thirds of 4 D, times `factor`, rounded up to a multiple."""
    width = int(2 * (4 * dim) / 3)
    if factor is not None:
        width = int(factor * width)
    return -(-width // multiple) * multiple


class SwiGLU(nn.Module):
    """`W_out (silu(W_gate x) * W_up x)`.

    Gate and up are the two halves of one matrix, so that a step of decoding reads it in one call.

    Args:
        dim: Channels D.
        width: Hidden channels, see `swiglu_width`.
        dropout: Dropout of the result, in training.
        bias: Whether the maps have a bias.
    """

    def __init__(self, dim: int, width: int, dropout: float = 0.0, bias: bool = False) -> None:
        super().__init__()
        self.gate_up = Linear(dim, 2 * width, bias=bias)
        self.out = nn.Linear(width, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        gate, up = self.gate_up(x_BLD).chunk(2, dim=-1)
        return self.dropout(self.out(F.silu(gate) * up))
