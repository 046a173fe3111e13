"""Moving averages of the tensors of a state dict, in place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """average <- decay x average + (1 - decay) x weights; integer tensors are copied."""
    floating = [key for key, value in weights.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[key] for key in floating], [weights[key] for key in floating], 1.0 - decay)
    for key in weights.keys() - set(floating):
        average[key].copy_(weights[key])


@torch.no_grad()
def swap_values(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """Exchange the values of the tensors of `one` with those of the same names in `other`."""
    for key, value in one.items():
        kept = value.clone()
        value.copy_(other[key])
        other[key].copy_(kept)
