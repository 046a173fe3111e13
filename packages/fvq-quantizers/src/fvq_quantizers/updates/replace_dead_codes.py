"""Dead codes are replaced by latents, the others are trained by gradient (as vqtorch and many VQ-VAEs do)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate
from .latent_sampling import code_counts, from_rank_zero

NOISE_ON_REPEATED = 0.01


@CODEBOOK_UPDATES.register_module()
class ReplaceDeadCodes(GradientUpdate):
    """The optimizer moves the codes; a dead one is overwritten by a random latent of the batch.

    Dead is a code that no latent of any rank chose for `patience` steps, or, where `threshold` is given, one whose running
    average of latents a step fell below it. Latents are those of rank 0, sent to the others, so that every rank holds
    the same codebook. The state of the optimizer is left alone: an unused code has had no gradient for a while, and its
    moments have decayed. A replaced code has the same time again before it counts as dead. The dead codes of a step get
    different latents as long as there are enough, and beyond that repeated ones with noise.

    Args:
        patience: Searches in training without use after which a code is replaced; 100 as in vqtorch. Each micro-batch, and
            each depth of a residual quantizer with one codebook, is a search.
        threshold: Instead of `patience`: least running average of latents a step (over all ranks) that keeps a code.
        decay: Of that average. It starts at twice the threshold, so that no code is dead before
            log(1/2) / log(decay) steps (69 at 0.99).
        noise: Normal noise on a replacement, relative to its norm; 0.01 in vqtorch. A repeated latent has at least that.

    Raises:
        UserError: Both criteria or none, or numbers out of range.

    Attributes:
        idle_K: Steps since each code was last used (with `patience`).
        usage_K: Running average of each code's latents a step (with `threshold`).
    """

    writes_codes = True
    overwrites = True
    idle_K: Tensor
    usage_K: Tensor

    def __init__(
        self, patience: int | None = None, threshold: float | None = None, decay: float = 0.99, noise: float = 0.0
    ) -> None:
        super().__init__()
        if patience is None and threshold is None:
            patience = 100
        if patience is not None and threshold is not None:
            raise UserError(
                f'ReplaceDeadCodes: takes patience or threshold, got patience={patience} and threshold={threshold}; drop one.'
            )
        if (patience is not None and patience < 1) or (threshold is not None and threshold <= 0):
            raise UserError(
                'ReplaceDeadCodes: patience must be 1 or more and threshold above 0, '
                f'got patience={patience} and threshold={threshold}.'
            )
        if not 0.0 <= decay < 1.0 or not 0.0 <= noise < math.inf:
            raise UserError(
                f'ReplaceDeadCodes: decay must lie in [0, 1) and noise be 0 or more, got {decay} and {noise}.'
            )
        self.patience, self.threshold, self.decay, self.noise = patience, threshold, decay, noise

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        if self.threshold is None:
            self.register_buffer('idle_K', torch.zeros_like(codebook_KD[:, 0], dtype=torch.int64))
        else:
            self.register_buffer('usage_K', torch.full_like(codebook_KD[:, 0], 2.0 * self.threshold).detach())

    @torch.no_grad()
    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        K, N = len(codebook_KD), len(z_ND)
        dead_K = self._dead(code_counts(indices_N, K))
        # Latents are drawn whether or not a code is dead: to look would wait for the device.
        nth_K = dead_K.cumsum(0) - 1  # of the dead codes
        fresh_KD = z_ND.detach().float()[torch.randperm(N, device=z_ND.device)[nth_K % N]]
        if self.noise or K > N:
            noise_K = torch.where(nth_K < N, self.noise, max(self.noise, NOISE_ON_REPEATED))
            fresh_KD = fresh_KD + (noise_K * fresh_KD.norm(dim=1))[:, None] * torch.randn_like(fresh_KD)
        codebook_KD.copy_(torch.where(dead_K.unsqueeze(1), from_rank_zero(fresh_KD), codebook_KD))

    def _dead(self, counts_K: Tensor) -> Tensor:
        """Which codes are dead, bool (K,); they start anew."""
        if self.patience is not None:
            self.idle_K.add_(1).masked_fill_(counts_K > 0, 0)
            dead_K = self.idle_K >= self.patience
            self.idle_K.masked_fill_(dead_K, 0)
            return dead_K
        assert self.threshold is not None
        self.usage_K.mul_(self.decay).add_(counts_K, alpha=1.0 - self.decay)
        dead_K = self.usage_K < self.threshold
        self.usage_K.masked_fill_(dead_K, 2.0 * self.threshold)
        return dead_K
