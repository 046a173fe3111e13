"""Dead codes are replaced by latents, the others are trained by gradient (as in vqtorch and many VQ-VAEs)."""

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

    A code is dead if no latent of any rank was assigned to it for `patience` steps or, with `threshold`, if its running
    average of latents per step falls below that. Latents come from rank 0, so that every rank holds the same codebook.
    The optimizer's state is kept: an unused code has had no gradient for a while, and its moments have decayed. A replaced
    code gets the same time again before it counts as dead. The dead codes of a step get different latents while there are
    enough, then repeated ones with noise.

    Args:
        patience: Training searches without use after which a code is replaced; 100 as in vqtorch. Each micro-batch is a
            search, and so is each depth of a residual quantizer with a shared codebook.
        threshold: Instead of `patience`: a code is kept if its running average of latents per step (over all ranks) is at
            least this.
        decay: Decay of that average, which starts at twice the threshold, so that no code is dead before
            log(1/2) / log(decay) steps (69 at 0.99).
        noise: Normal noise on a replacement, relative to its norm; 0.01 in vqtorch. Repeated latents get at least that.

    Attributes:
        idle_K: Steps since each code was last used (with `patience`).
        usage_K: Running average of each code's latents per step (with `threshold`).
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
                f'ReplaceDeadCodes: expected patience or threshold, got both, {patience} and {threshold}; drop one.'
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
        # Latents are drawn whether or not a code is dead: checking would wait for the device.
        nth_K = dead_K.cumsum(0) - 1  # of the dead codes
        fresh_KD = z_ND.detach().float()[torch.randperm(N, device=z_ND.device)[nth_K % N]]
        if self.noise or K > N:
            noise_K = torch.where(nth_K < N, self.noise, max(self.noise, NOISE_ON_REPEATED))
            fresh_KD = fresh_KD + (noise_K * fresh_KD.norm(dim=1))[:, None] * torch.randn_like(fresh_KD)
        codebook_KD.copy_(torch.where(dead_K.unsqueeze(1), from_rank_zero(fresh_KD), codebook_KD))

    def _dead(self, counts_K: Tensor) -> Tensor:
        """Which codes are dead, bool (K,); their counters are reset."""
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
