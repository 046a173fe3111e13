"""How floats become pixels, which shifts every number of an evaluation a little."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import NonFiniteError, UserError, nearest_hint
from fvq_core.images import MAX_MAGNITUDE, to_uint8
from fvq_core.ops.finite import can_sync

Rounding = Literal['round', 'half-up', 'truncate', 'float']

IN_WORDS: dict[Rounding, str] = {
    'round': 'images rounded to 8 bits',
    'half-up': 'images to 8 bits by clamp(127.5 x + 128), cut off',
    'truncate': 'both images cut off to 8 bits, not rounded',
    'float': 'images clamped, not rounded',
}


def check_rounding(who: str, rounding: str) -> None:
    """Raise if a rounding does not exist."""
    if rounding not in get_args(Rounding):
        raise UserError(f"{who}: no rounding '{rounding}'; {nearest_hint(rounding, get_args(Rounding))}")


def to_pixels(images: Tensor, rounding: Rounding) -> Tensor:
    """The pixels of a reconstruction under a protocol: uint8, or float32 in [0, 255] if it does not round.

    `round`: 127.5 (x + 1), halves to even (FVQ). `half-up`: 127.5 x + 128 with the fraction cut off (LlamaGen), which is
    the same but for halves. `truncate`: 255 (x + 1) / 2 with the fraction cut off (IBQ), half a level darker on average.
    All clamp to the range.

    Args:
        images: RGB floats, nominally in [-1, 1], any shape.

    Raises:
        UserError: The images are not floats, so they are pixels already.
        NonFiniteError: On a CPU: a value is NaN.
    """
    check_rounding('to_pixels', rounding)
    if not images.is_floating_point():
        raise UserError(f'to_pixels: expected float images in [-1, 1], got {images.dtype}; these are pixels already.')
    x = images.float()
    if rounding == 'round':
        return to_uint8(x)
    if can_sync(x, wait=False) and x.isnan().any():
        raise NonFiniteError(
            'to_pixels: the images hold NaN, which no pixel can show; the decoder or its weights are broken.'
        )
    if rounding == 'half-up':
        return (127.5 * x + 128.0).clamp_(0, 255).to(torch.uint8)
    levels = x.clamp(-1, 1).add_(1).div_(2).mul_(255)
    return levels.to(torch.uint8) if rounding == 'truncate' else levels


def original_pixels(images: Tensor, rounding: Rounding) -> Tensor:
    """The pixels of an 8-bit original under a protocol: the same uint8, unless truncation cuts off rounding errors.

    Args:
        images: Floats in [-1, 1] that came from uint8 pixels, any shape.

    Raises:
        UserError: Other types and, on a CPU, values far outside the range, such as pixels from 0 to 255.
    """
    pixels = to_uint8(images)
    if can_sync(images, wait=False) and images.numel() and images.amax() > MAX_MAGNITUDE:
        raise UserError(
            f'original_pixels: expected images in [-1, 1], got values up to {images.amax():g}; pixels x from 0 to 255 are '
            'x / 127.5 - 1, or from_uint8(x) of uint8 ones.'
        )
    if rounding != 'truncate':
        return pixels
    return truncated_levels().to(pixels.device, non_blocking=True)[pixels.long()]


def truncated_levels() -> Tensor:
    """What becomes of each of the 256 levels when it is normalised in NumPy and cut off to 8 bits again: uint8 (256,).

    level / 127.5 - 1 is taken in float64 and stored as float32, as the peers' loaders do, and 255 (x + 1) / 2 in float32
    lies just below the level for some, which then lose one.
    """
    levels = (np.arange(256) / 127.5 - 1.0).astype(np.float32)
    return to_pixels(torch.from_numpy(levels), 'truncate')
