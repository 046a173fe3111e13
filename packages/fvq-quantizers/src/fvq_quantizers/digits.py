"""Mixed-radix numbers: an index and its digits, one per channel of a code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Order = Literal['little', 'big']


def significance(channels: int, order: Order) -> range:
    """Channels from the least significant digit to the most: 'little' begins with channel 0, 'big' ends with it."""
    return range(channels) if order == 'little' else range(channels - 1, -1, -1)


def digits_to_index(digits: Tensor, levels: Sequence[int], order: Order = 'little') -> Tensor:
    """int64 digits (..., C), digit c in [0, levels[c]), to indices (...)."""
    index = torch.zeros_like(digits[..., 0])
    for channel in reversed(significance(len(levels), order)):
        index = index * levels[channel] + digits[..., channel]
    return index


def index_to_digits(index: Tensor, levels: Sequence[int], order: Order = 'little') -> Tensor:
    """int64 indices (...) to digits (..., C): the inverse of `digits_to_index`."""
    digits = [index] * len(levels)
    for channel in significance(len(levels), order):
        digits[channel] = index % levels[channel]
        index = index // levels[channel]
    return torch.stack(digits, -1)
