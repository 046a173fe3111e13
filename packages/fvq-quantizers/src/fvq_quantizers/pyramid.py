"""The sizes of a multi-scale quantizer's scales, and shrinking a latent to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError

Scale = int | Sequence[int]


def check_scales(scales: Sequence[Scale]) -> tuple[tuple[int, int], ...]:
    """(height, width) of each scale; raises unless all are positive and none is larger than the last."""
    try:
        pairs = tuple((scale, scale) if isinstance(scale, int) else tuple(scale) for scale in scales)
    except TypeError:
        pairs = ()
    well_formed = pairs and all(len(p) == 2 and all(isinstance(side, int) and side > 0 for side in p) for p in pairs)
    if not well_formed or any(p[0] > pairs[-1][0] or p[1] > pairs[-1][1] for p in pairs):
        raise UserError(
            'MultiScaleQuantizer: scales must be positive whole numbers or (height, width) pairs, none larger than the '
            f'last, which is the size of the latent; got {scales}.'
        )
    return cast(tuple[tuple[int, int], ...], pairs)


def check_modes(interpolation: str, inputs: str) -> None:
    """Raise unless these are ways of enlarging codes, and of shrinking what a next-scale generator reads."""
    if interpolation not in ('bicubic', 'bilinear'):
        raise UserError(f"MultiScaleQuantizer: interpolation is 'bicubic' or 'bilinear', got {interpolation!r}.")
    if inputs not in ('area', 'bilinear'):
        raise UserError(f"MultiScaleQuantizer: inputs are shrunk by 'area' or 'bilinear', got {inputs!r}.")


def rescale(length: int, old: int, new: int) -> int:
    """A scale's height or width for latents of length `old`, for one of length `new`: rounded half up, at least 1."""
    return max(1, (2 * length * new + old) // (2 * old))


def shrink(x_BDHW: Tensor, height: int, width: int, mode: str = 'area') -> Tensor:
    """Area averages, or linear interpolation (`'bilinear'`, which reads four positions), (B, D, height, width)."""
    return x_BDHW if x_BDHW.shape[-2:] == (height, width) else F.interpolate(x_BDHW, (height, width), mode=mode)
