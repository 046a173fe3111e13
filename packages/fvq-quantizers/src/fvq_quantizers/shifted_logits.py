"""A distance's logits with less rounding, alike for all chunks and tiles of a codebook."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor


def shifted_logits(distance: Any, codebook_KD: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """`distance.logits`, relative to the shift of the whole codebook, if there is one.

    Each row of these logits differs from the plain ones by a constant, which changes no softmax and no maximum. The shift
    depends only on the codes, so it is the same for every chunk, on every rank and in a backward pass.

    Args:
        distance: A `Distance`, or a vector quantizer.
    """
    shift_D = distance.shift(codebook_KD.detach())
    return distance.logits if shift_D is None else partial(distance.logits, shift_D=shift_D)
