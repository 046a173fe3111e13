"""The one place where pixels change type: uint8 at the edges, RGB float in [-1, 1] inside."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import NonFiniteError, UserError
from .ops.finite import can_sync

MAX_MAGNITUDE = 10.0  # not reached by images in [-1, 1], however resized or distorted, nor by noise
MAX_NONNEGATIVE = 2.0  # nor this, if no pixel is below 0


def from_uint8(images: Tensor) -> Tensor:
    """uint8 [0, 255] to float32 [-1, 1], any shape: x / 127.5 - 1. Raises for another dtype."""
    if not isinstance(images, Tensor):
        raise UserError(f'from_uint8: expected a uint8 tensor, got {type(images).__name__}; use torch.as_tensor first.')
    if images.dtype != torch.uint8:
        given = images.dtype
        raise UserError(f'from_uint8: expected uint8 pixels, got {given}; pass float images in [-1, 1] as they are.')
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Float [-1, 1] to uint8 by clamping and rounding to the nearest level; the inverse of `from_uint8`.

    Raises:
        UserError: The tensor is not floating-point.
        NonFiniteError: On a CPU: a pixel is NaN. Infinite ones are clamped.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        given = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise UserError(f'to_uint8: expected floats in [-1, 1], got {given}; uint8 pixels need no conversion.')
    if can_sync(images, wait=False) and images.numel() and images.detach().amin().isnan():
        raise NonFiniteError(
            'to_uint8: the images hold NaN, which no pixel can show; the decoder or its weights are broken.'
        )
    return images.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def device_images(batch: Mapping[str, Any], device: torch.device | str) -> Tensor:
    """The images of a batch on a device, mirrored if the loader drew so: (B, 3, H, W) float32 in [-1, 1].

    They are copied as uint8, a quarter of the bytes of floats; from pinned memory the copy overlaps with computation.

    Args:
        batch: What `collate_samples` made: `images` uint8 (B, 3, H, W), and optionally `flip` bool (B,).
        device: The target.
    """
    images, flip = batch['images'].to(device, non_blocking=True), batch.get('flip')
    if flip is not None and flip.any():
        flip = flip.to(device, non_blocking=True)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    return from_uint8(images)


def check_images(owner: str, images: Any, channels: int | None, device: torch.device) -> None:
    """Raise if these are not a batch of float images in [-1, 1]. Values are only checked on a CPU.

    Images in [0, 1] cannot be told from bright ones with certainty, so they only cause a warning, unless all their
    values are levels of `from_uint8`. `channels` is None for any number; messages begin with `owner`.
    """
    wanted = f'{owner}: expected float images (B, {channels or "C"}, H, W) in [-1, 1], got'
    if not isinstance(images, Tensor) or images.is_nested or images.layout != torch.strided:
        given = 'a sparse or nested tensor' if isinstance(images, Tensor) else type(images).__name__
        raise UserError(
            f'{wanted} {given}; an image of PIL or NumPy, (H, W, 3), becomes one by '
            'from_uint8(torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None]).'
        )
    given = f'{wanted} {images.dtype} {tuple(images.shape)}'
    if not images.is_floating_point():
        integer = 'images' if images.dtype == torch.uint8 else 'images.to(torch.uint8)'
        raise UserError(f'{given}; pixels from 0 to 255 are converted by fvq_core.images.from_uint8({integer}).')
    if images.dim() != 4:
        remedy = 'a single image is images[None]' if images.dim() == 3 else 'stack images into a batch'
        raise UserError(f'{given}; {remedy}.')
    if channels is not None and images.shape[1] != channels:
        last = images.shape[3] == channels
        remedy = 'use images.permute(0, 3, 1, 2)' if last else f'convert them to {channels} channels'
        raise UserError(f'{given}; {remedy}.')
    if images.device != device:
        raise UserError(
            f'{owner}: the images are on {images.device}, the weights on {device}; use images.to({str(device)!r}).'
        )
    if images.numel() and can_sync(images, wait=False):
        check_range(owner, images)


def check_range(owner: str, images: Tensor) -> None:
    """Raise if values are not those of images in [-1, 1]; warn if they look like images in [0, 1]."""
    low, high = (bound.item() for bound in images.detach().float().aminmax())
    if not abs(low) + abs(high) < float('inf'):
        first = int((~images.isfinite().flatten(1).all(1)).nonzero()[0])
        what = f'image {first} of {len(images)} holds NaN or infinite pixels'
        raise NonFiniteError(f'{owner}: {what}; look at what made it.')
    given = f'{owner}: expected images in [-1, 1], got values from {low:g} to {high:g}'
    if max(-low, high) > MAX_MAGNITUDE or (low >= 0 and high > MAX_NONNEGATIVE):
        raise UserError(f'{given}; pixels x from 0 to 255 are x / 127.5 - 1, or from_uint8(x) of uint8 ones.')
    if 0 <= low < high <= 1:
        levels = (images.detach().float() + 1.0) * 127.5
        if (levels - levels.round()).abs().max() > 1e-3:
            warnings.warn(f'{given}; are they in [0, 1]? Then use 2 * images - 1.', stacklevel=5)
