"""Codes as exponential moving averages of their latents (VQ-VAE, appendix A; RQ-VAE)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate


@CODEBOOK_UPDATES.register_module()
class EMAUpdate(GradientUpdate):
    """Counts and sums of each code's latents decay by `decay`; the code is their smoothed ratio.

    Statistics are summed over ranks, so that every rank holds the same codebook. Restarts draw from the latents of
    rank 0, which are sent to the others.

    Args:
        decay: 0.99 in VQ-VAE and RQ-VAE.
        eps: Laplace smoothing of the counts.
        restart: Replace a code whose count fell below 1 by a random latent of the batch, as RQ-VAE does. A batch with
            fewer latents than codes is repeated with a little noise.

    Attributes:
        counts_K: Decayed number of latents of each code.
        sums_KD: Decayed sum of latents of each code.
    """

    trainable = False
    writes_codes = True
    counts_K: Tensor
    sums_KD: Tensor

    def __init__(self, decay: float = 0.99, eps: float = 1e-5, restart: bool = False) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise UserError(f'EMAUpdate: decay must lie in [0, 1), got {decay}; 0.99 is usual.')
        self.decay, self.eps, self.restart = decay, eps, restart

    def attach(self, codebook_KD: Tensor) -> None:
        self.register_buffer('counts_K', torch.zeros_like(codebook_KD[:, 0]))
        self.register_buffer('sums_KD', codebook_KD.detach().clone())

    @torch.no_grad()
    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        z_ND = z_ND.detach().float()
        counts_K = torch.zeros_like(self.counts_K, dtype=torch.int64)
        counts_K = counts_K.scatter_add_(0, indices_N, torch.ones_like(indices_N)).to(self.counts_K)  # without a sync
        sums_KD = torch.zeros_like(self.sums_KD).index_add_(0, indices_N, z_ND)
        if dist.is_initialized():
            dist.all_reduce(counts_K)
            dist.all_reduce(sums_KD)
        self.counts_K.mul_(self.decay).add_(counts_K, alpha=1.0 - self.decay)
        self.sums_KD.mul_(self.decay).add_(sums_KD, alpha=1.0 - self.decay)
        if self.restart:
            self._restart_unused(z_ND)
        total = self.counts_K.sum()
        smoothed_K = total * (self.counts_K + self.eps) / (total + self.counts_K.shape[0] * self.eps)
        codebook_KD.copy_(self.sums_KD / smoothed_K.unsqueeze(1))

    def _restart_unused(self, z_ND: Tensor) -> None:
        K = self.counts_K.shape[0]
        repeats = -(-K // z_ND.shape[0])
        if repeats > 1:
            z_ND = z_ND.repeat(repeats, 1)
            z_ND = z_ND + torch.rand_like(z_ND) * (0.01 / z_ND.shape[1] ** 0.5)
        fresh_KD = z_ND[torch.randperm(z_ND.shape[0], device=z_ND.device)[:K]]
        if dist.is_initialized():
            dist.broadcast(fresh_KD, 0)
        unused_K = self.counts_K < 1.0
        self.sums_KD[unused_K] = fresh_KD[unused_K]
        self.counts_K[unused_K] = 1.0
