"""Grids of growing sides: what a multi-scale quantizer quantizes one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError

Side = int | Sequence[int]


def check_sides(sides: Sequence[Side]) -> tuple[tuple[int, int], ...]:
    """(height, width) of each scale.

    Raises:
        UserError: No sides, or one that is no whole positive size or exceeds the last.
    """
    try:
        pairs = tuple((side, side) if isinstance(side, int) else tuple(side) for side in sides)
    except TypeError:
        pairs = ()
    well_formed = pairs and all(len(p) == 2 and all(isinstance(side, int) and side > 0 for side in p) for p in pairs)
    if not well_formed or any(p[0] > pairs[-1][0] or p[1] > pairs[-1][1] for p in pairs):
        raise UserError(
            'MultiScaleQuantizer: sides must be positive whole numbers or (height, width) pairs, none beyond the last, which '
            f'is the size of the latent; got {sides}.'
        )
    return cast(tuple[tuple[int, int], ...], pairs)


def scaled(side: int, of: int, to: int) -> int:
    """A side of a pyramid for latents of size `of`, for one of size `to`: rounded, halves up, at least 1."""
    return max(1, (2 * side * to + of) // (2 * of))


def shrink(x_BDHW: Tensor, height: int, width: int) -> Tensor:
    """Area averages, (B, D, height, width)."""
    return x_BDHW if x_BDHW.shape[-2:] == (height, width) else F.interpolate(x_BDHW, (height, width), mode='area')
