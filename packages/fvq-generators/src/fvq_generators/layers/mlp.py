"""The plain feed-forward layer of transformers."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .linear import Linear


class MLP(nn.Module):
    """`W_outer gelu(W_inner x)`.

    Args:
        dim: Channels D.
        width: Hidden channels.
        dropout: Dropout of the result, in training.
        approximate: GELU by `'tanh'`, as in VAR and the original MaskGIT, or exact, `'none'`.
        bias: Whether both maps have a bias.
    """

    def __init__(
        self,
        dim: int,
        width: int,
        dropout: float = 0.0,
        approximate: Literal['tanh', 'none'] = 'tanh',
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.inner = Linear(dim, width, bias=bias)
        self.outer = nn.Linear(width, dim, bias=bias)
        self.approximate = approximate
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.dropout(self.outer(F.gelu(self.inner(x_BLD), approximate=self.approximate)))
