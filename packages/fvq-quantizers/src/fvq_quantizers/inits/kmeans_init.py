"""k-means centres of the latents of the first batches."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.kmeans import kmeans
from fvq_core.registry import CODEBOOK_INITS

from .codebook_init import CodebookInit


@CODEBOOK_INITS.register_module()
class KMeansInit(CodebookInit):
    """The training loop collects latents of the untrained encoder and passes them on before the first step.

    If there are fewer distinct latents than codes, they are repeated; training has to separate the repeats.

    Args:
        iterations: Most iterations of Lloyd's algorithm.
        std: Until then the codes are N(0, std^2).
    """

    needs_init = True

    def __init__(self, iterations: int = 20, std: float = 0.02) -> None:
        if iterations < 1 or std < 0:
            raise UserError(f'KMeansInit: iterations must be 1 or more and std 0 or more, got {iterations} and {std}.')
        self.iterations, self.std = iterations, std

    def weights(self, codebook_size: int, dim: int) -> Tensor:
        return torch.randn(codebook_size, dim) * self.std

    def from_latents(self, z_ND: Tensor, codebook_size: int) -> Tensor:
        points = torch.unique(z_ND.detach().float(), dim=0)
        if len(points) <= codebook_size:
            return points.repeat(-(-codebook_size // len(points)), 1)[:codebook_size]
        return kmeans(points, codebook_size, self.iterations).centres_KD
