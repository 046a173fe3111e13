"""The vector that the search subtracts so that codes far from zero are told apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ..finite import can_sync

SHIFT_CODES = 63  # codes whose medians make the shift


def some_codes(codebook_KD: Tensor) -> Tensor:
    """At most `SHIFT_CODES` codes, spread over the codebook, float32."""
    return codebook_KD.detach()[:: -(-len(codebook_KD) // SHIFT_CODES)].float()


def shift(codebook_KD: Tensor) -> Tensor | None:
    """A vector (D,), float32, near most codes; None for zero, as far as that is known without waiting.

    Per channel it is the median of a few codes, so that a far code does not move it, rounded to a multiple of a power of two
    as large as their spread. So it is zero for codes around zero, subtracting it loses no bit, and it is the same on every
    device and rank.
    """
    few_DM = some_codes(codebook_KD).t().contiguous()
    middle = few_DM.shape[1] // 2
    median_D = few_DM.kthvalue(middle + 1, 1).values
    spread_D = (few_DM - median_D[:, None]).abs().kthvalue(middle + 1, 1).values
    step_D = torch.ldexp(torch.ones_like(spread_D), torch.frexp(spread_D).exponent + 1)
    shift_D = torch.where(spread_D > 0, (median_D / step_D).round() * step_D, median_D)
    return None if can_sync(shift_D, wait=False) and not shift_D.any() else shift_D
