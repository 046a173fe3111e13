"""Between features on a grid and the tokens of a transformer, in reading order."""

from __future__ import annotations

from torch import Tensor


def to_tokens(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H W, C)."""
    return x_BCHW.flatten(2).transpose(1, 2)


def to_grid(x_BTC: Tensor, like_BCHW: Tensor) -> Tensor:
    """The inverse of `to_tokens`: (B, T, C) to (B, C, H, W) with H and W of `like_BCHW`."""
    return x_BTC.transpose(1, 2).unflatten(2, like_BCHW.shape[-2:])
