"""Codes as exponential moving averages of their latents (VQ-VAE, appendix A; RQ-VAE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.codebook_statistics import assigned_latents
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate
from .latent_sampling import random_latents


@CODEBOOK_UPDATES.register_module()
class EMAUpdate(GradientUpdate):
    """Each code is the smoothed ratio of two decaying averages: the sum and the count of its latents.

    Statistics are summed over ranks, so that every rank holds the same codebook. Restarts draw from rank 0's latents.

    Args:
        decay: 0.99 in VQ-VAE and RQ-VAE.
        eps: Laplace smoothing of the counts, above 0.
        start_count: Initial count of each code. With 1 or more, codes move from their initial values towards their latents.
            With 0, as VQGAN and RQ-VAE released it, the first steps throw every code that is not restarted far away,
            even k-means centres.
        restart: Replace a code whose count falls below `threshold` by a random latent of the batch, as RQ-VAE does. A batch
            with fewer latents than codes is repeated with a little noise.
        threshold: Latents a step. 1 as released, where a batch has many latents a code; with one latent a code this is even
            use, and restarts most codes at every step.

    Attributes:
        counts_K: Decayed number of latents of each code.
        sums_KD: Decayed sum of latents of each code.
    """

    trainable = False
    writes_codes = True
    overwrites = True
    counts_K: Tensor
    sums_KD: Tensor

    def __init__(
        self,
        decay: float = 0.99,
        eps: float = 1e-5,
        restart: bool = False,
        start_count: float = 1.0,
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise UserError(f'EMAUpdate: decay must lie in [0, 1), got {decay}; 0.99 is usual.')
        if not (start_count >= 0.0 and eps > 0.0):
            raise UserError(
                f'EMAUpdate: start_count must be 0 or more and eps above 0, got {start_count} and {eps}; 1 and 1e-5 are usual.'
            )
        if not threshold > 0.0:
            raise UserError(f"EMAUpdate: threshold must be above 0, got {threshold}; 1 is RQ-VAE's.")
        self.decay, self.eps, self.restart, self.start_count = decay, eps, restart, start_count
        self.threshold = threshold

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        codebook_KD = codebook_KD.detach()
        self.register_buffer('counts_K', torch.full_like(codebook_KD[:, 0], self.start_count))
        self.register_buffer(
            'sums_KD', codebook_KD * (self.start_count or 1.0)
        )  # as released at 0: sums without counts

    @torch.no_grad()
    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        z_ND = z_ND.detach().float()
        counts_K, sums_KD = assigned_latents(indices_N, z_ND, self.counts_K.shape[0])
        self.counts_K.mul_(self.decay).add_(counts_K, alpha=1.0 - self.decay)
        self.sums_KD.mul_(self.decay).add_(sums_KD, alpha=1.0 - self.decay)
        if self.restart:
            fresh_KD = random_latents(z_ND, self.counts_K.shape[0])
            unused_K = self.counts_K < self.threshold
            self.sums_KD[unused_K] = self.threshold * fresh_KD[unused_K]
            self.counts_K[unused_K] = self.threshold
        total = self.counts_K.sum()
        smoothed_K = total * (self.counts_K + self.eps) / (total + self.counts_K.shape[0] * self.eps)
        codebook_KD.copy_(self.sums_KD / smoothed_K.unsqueeze(1))
