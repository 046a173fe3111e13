"""The one place where pixels change type: uint8 at the edges, RGB float in [-1, 1] inside."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import UserError


def from_uint8(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [-1, 1], any shape: x / 127.5 - 1.

    Raises:
        UserError: The tensor is not uint8.
    """
    if images.dtype != torch.uint8:
        raise UserError(
            f'from_uint8: expected uint8 pixels, got {images.dtype}; pass float images in [-1, 1] as they are.'
        )
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Float [-1, 1] to uint8 by clamping and rounding to the nearest level; the inverse of `from_uint8`."""
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
