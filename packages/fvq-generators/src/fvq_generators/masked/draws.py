"""The random numbers of masked decoding: those of an image depend on its seed only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..sampling import Sampler, uniforms

SMALLEST = 1e-20


def gumbel(uniform: Tensor) -> Tensor:
    """Gumbel noise of numbers in [0, 1)."""
    return -torch.log((-torch.log(uniform.clamp(min=SMALLEST))).clamp(min=SMALLEST))


class Draws:
    """Numbers for each step and code of each image.

    Args:
        seeds: One for each image.
        steps: Steps of decoding.
        length: Codes of an image L.
        parts: Draws a code: one for each factor of a factorised vocabulary.
        device: Where they are used.
    """

    def __init__(self, seeds: Sequence[int], steps: int, length: int, parts: int, device: torch.device) -> None:
        self.length = length
        drawn = uniforms(seeds, 1 + steps * (parts + 1) * length).to(device)
        self.starts_B = drawn[:, 0]
        self.numbers_BSPL = drawn[:, 1:].view(len(seeds), steps, parts + 1, length)

    def codes(self, step: int, part: int, logits_BNV: Tensor, rows_BN: Tensor, sampler: Sampler) -> Tensor:
        """A value of each code, int64 (B, N).

        Args:
            step: Step of decoding.
            part: Factor of the vocabulary.
            logits_BNV: float32.
            rows_BN: Which codes of the image these are.
            sampler: Temperature and filters; temperature 0 takes the likeliest.
        """
        uniform_BN = self.numbers_BSPL[:, step, part].gather(1, rows_BN)
        return sampler(logits_BNV.flatten(0, 1), uniform_BN.flatten()).view_as(rows_BN)

    def noise(self, step: int) -> Tensor:
        """Gumbel noise on the confidence of every code, float64 (B, L)."""
        return gumbel(self.numbers_BSPL[:, step, -1])

    def starts(self) -> Tensor:
        """Where each image enters a sequence of its codes, int64 (B,)."""
        return (self.starts_B * self.length).long()
