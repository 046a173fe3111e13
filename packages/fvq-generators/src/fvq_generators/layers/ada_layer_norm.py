"""Adaptive layer norm: a condition gives the scales and shifts behind norms, and gates of branches (Peebles and Xie, 2023)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drop_path import DropPath
from .linear import Linear


def modulate(x_BLD: Tensor, scale_BLD: Tensor, shift_BLD: Tensor) -> Tensor:
    """`x (1 + scale) + shift`."""
    return x_BLD * (1 + scale_BLD) + shift_BLD


class Modulation(nn.Module):
    """Gates, scales and shifts of a condition: SiLU, then a linear map.

    Args:
        dim: Channels D of what is modulated.
        parts: Vectors of each condition: 6 for an `AdaLNBlock`, 2 for an `AdaLayerNorm`.
        cond_dim: Channels C of the condition; D by default.
    """

    def __init__(self, dim: int, parts: int = 6, cond_dim: int | None = None) -> None:
        super().__init__()
        self.parts = parts
        self.linear = Linear(dim if cond_dim is None else cond_dim, parts * dim)

    def forward(self, cond_BLC: Tensor) -> Tensor:
        """(B, L, C), with L = 1 for one condition an image, to (B, L, parts, D)."""
        return self.linear(F.silu(cond_BLC)).unflatten(-1, (self.parts, -1))


class SharedModulation(nn.Module):
    """A block's offset to a `Modulation` that all blocks share (`shared_aln` of VAR, adaLN-single of PixArt).

    Args:
        dim: Channels D.
        parts: Those of the shared modulation.
    """

    def __init__(self, dim: int, parts: int = 6) -> None:
        super().__init__()
        self.offset_PD = nn.Parameter(torch.randn(parts, dim) / dim**0.5)

    def forward(self, shared_BLPD: Tensor) -> Tensor:
        """(B, L, parts, D) to (B, L, parts, D)."""
        return shared_BLPD + self.offset_PD


class AdaLayerNorm(nn.Module):
    """A norm whose scale and shift come from a condition.

    Args:
        norm: The norm, such as a LayerNorm without weights.
        modulation: Gives scale and shift of a condition.
    """

    def __init__(self, norm: nn.Module, modulation: nn.Module) -> None:
        super().__init__()
        self.norm, self.modulation = norm, modulation

    def forward(self, x_BLD: Tensor, cond_BLC: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D); the condition is (B, L or 1, C)."""
        return modulate(self.norm(x_BLD), *self.modulation(cond_BLC).unbind(2))


class AdaLNBlock(nn.Module):
    """`x + gate1 attention(modulate(norm(x)))`, then `x + gate2 ffn(modulate(norm(x)))`; stochastic depth on both branches.

    Args:
        attention: Called with the modulated x and what else the block is given.
        ffn: Feed-forward layer.
        attention_norm, ffn_norm: Norms, such as LayerNorms without weights (VAR).
        modulation: A `Modulation` of 6 parts, or a `SharedModulation`. Their order is VAR's: both gates, both scales, both
            shifts, each of attention and then of the feed-forward layer.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        attention: nn.Module,
        ffn: nn.Module,
        attention_norm: nn.Module,
        ffn_norm: nn.Module,
        modulation: nn.Module,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm, self.attention = attention_norm, attention
        self.ffn_norm, self.ffn = ffn_norm, ffn
        self.modulation = modulation
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x_BLD: Tensor, cond_BLC: Tensor | None, *attention: Any, parts_BL6D: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) to (B, L, D).

        Args:
            x_BLD: The positions.
            cond_BLC: What the modulation takes, (B, L or 1, ...).
            attention: Arguments of the attention behind the modulated x.
            parts_BL6D: What the modulation gave, if it was computed before: while one image is drawn it stays the same.
        """
        if parts_BL6D is None:
            parts_BL6D = self.modulation(cond_BLC)
        gate1, gate2, scale1, scale2, shift1, shift2 = parts_BL6D.unbind(2)
        attended = self.attention(modulate(self.attention_norm(x_BLD), scale1, shift1), *attention)
        x_BLD = x_BLD + self.drop_path(gate1 * attended)
        return x_BLD + self.drop_path(gate2 * self.ffn(modulate(self.ffn_norm(x_BLD), scale2, shift2)))
