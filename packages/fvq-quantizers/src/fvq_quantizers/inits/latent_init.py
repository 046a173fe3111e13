"""Latents of the first batches as codes."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.registry import CODEBOOK_INITS

from .codebook_init import CodebookInit


@CODEBOOK_INITS.register_module()
class LatentInit(CodebookInit):
    """Each code is one of the distinct latents that the training loop collects of the untrained encoder, drawn at random.

    If there are fewer of them than codes, they are repeated.

    Args:
        std: Until then the codes are N(0, std^2).
    """

    needs_init = True

    def __init__(self, std: float = 0.02) -> None:
        self.std = std

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        return torch.randn(codebook_size, dim) * self.std

    def from_latents(self, z_ND: Tensor, codebook_size: int) -> Tensor:
        points = torch.unique(z_ND.detach().float(), dim=0)
        order = torch.randperm(len(points)).repeat(-(-codebook_size // len(points)))[:codebook_size]
        return points[order.to(points.device)]
