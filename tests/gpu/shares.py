"""What is compared on both devices."""

from __future__ import annotations

from torch import Tensor


def matching(one: Tensor, other: Tensor) -> float:
    """The share of codes that are the same."""
    return (one.cpu() == other.cpu()).double().mean().item()
