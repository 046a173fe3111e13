"""The logits of a distance with less rounding, for all chunks and tiles of one codebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor


def shifted_logits(distance: Any, codebook_KD: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """`distance.logits`, about the shift of the whole codebook if the distance has one.

    Rows of these logits differ from the plain ones by a constant each, which no softmax and no maximum sees. The shift comes
    from the codes only, so that it is the same for every chunk, on every rank and again in a backward pass.

    Args:
        distance: Has `logits(z, codebook)`; with `shift(codebook)`, its logits take what that returns as `shift_D`.
        codebook_KD: All codes.
    """
    find = getattr(distance, 'shift', None)
    shift_D = None if find is None else find(codebook_KD.detach())
    return distance.logits if shift_D is None else partial(distance.logits, shift_D=shift_D)
