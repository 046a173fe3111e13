"""Each sample's own random numbers, of which its seed alone decides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Streams:
    """Drawn on the CPU: a sample is the same in any batch and on any device.

    Args:
        seeds: One for each sample.
        device: Where the numbers are used.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.streams, self.device = [torch.Generator().manual_seed(seed) for seed in seeds], device

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal numbers, float32 (B, *shape)."""
        rows = [torch.randn(shape, generator=stream) for stream in self.streams]
        return (torch.stack(rows) if rows else torch.empty(0, *shape)).to(self.device)

    def orders(self, length: int) -> Tensor:
        """A random permutation of positions for each, int64 (B, L)."""
        rows = [torch.randperm(length, generator=stream) for stream in self.streams]
        return (torch.stack(rows) if rows else torch.empty(0, length, dtype=torch.int64)).to(self.device)
