"""The one place where pixels change type: uint8 at the edges, RGB float in [-1, 1] inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def device_images(batch: Mapping[str, Any], device: torch.device | str) -> Tensor:
    """The images of a batch on a device, mirrored where the loader's coin said so: (B, 3, H, W) float32 in [-1, 1].

    They travel as uint8, a quarter of the bytes of floats; from pinned memory the copy overlaps with computation.

    Args:
        batch: What `collate_samples` made: `images` uint8 (B, 3, H, W), and optionally `flip` bool (B,).
        device: Where to.
    """
    images, flip = batch['images'].to(device, non_blocking=True), batch.get('flip')
    if flip is not None and flip.any():
        flip = flip.to(device, non_blocking=True)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    return from_uint8(images)
