"""Unused codes move next to the most used ones, once in a while (ReVQ's reset of non-activated codes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate
from .latent_sampling import code_counts, from_rank_zero


@CODEBOOK_UPDATES.register_module()
class SplitUsedCodes(GradientUpdate):
    """The optimizer moves the codes; every `interval` searches, those that no latent chose become copies of the most used.

    The n codes that were not used, `share` of all at most, take the place of the n most used ones, with noise; a latent of a
    crowded code then has two to choose from. ReVQ (Zhang et al., 2025; `Quantizer.reset_code` of its release) does so after
    each epoch. The state of the optimizer is kept: an unused code has had no gradient, and its moments have decayed.

    Args:
        interval: Training searches between two resets; each micro-batch is one. An epoch in ReVQ.
        share: Largest share of the codes that a reset moves; 0.2 as released.
        noise: Standard deviation of the noise, in units of the latents; 0.1 as released, for normalized latents.

    Attributes:
        counts_K: How often each code was used since the last reset, over all ranks.
        searches: Searches since then.
    """

    writes_codes = True
    overwrites = True
    counts_K: Tensor
    searches: Tensor

    def __init__(self, interval: int, share: float = 0.2, noise: float = 0.1) -> None:
        super().__init__()
        if interval < 1 or not 0 < share <= 1 or not 0 <= noise < float('inf'):
            raise UserError(
                'SplitUsedCodes: interval must be 1 or more, share lie in (0, 1] and noise be 0 or more, got '
                f'{interval}, {share} and {noise}.'
            )
        self.interval, self.share, self.noise = interval, share, noise

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        self.register_buffer('counts_K', torch.zeros_like(codebook_KD[:, 0], dtype=torch.int64))
        self.register_buffer('searches', torch.zeros((), dtype=torch.int64, device=codebook_KD.device))

    @torch.no_grad()
    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        K, most = len(codebook_KD), max(1, int(self.share * len(codebook_KD)))
        self.counts_K += code_counts(indices_N, K)
        self.searches += 1
        # What follows is computed in each step: to look whether it is due would wait for the GPU.
        due = self.searches >= self.interval
        by_use_K = self.counts_K.argsort(descending=True, stable=True)
        used, unused = by_use_K[:most], by_use_K.flip(0)[:most]
        moved = due & (self.counts_K[unused] == 0)
        fresh = from_rank_zero(codebook_KD[used] + self.noise * torch.randn_like(codebook_KD[used]))
        codebook_KD[unused] = torch.where(moved[:, None], fresh, codebook_KD[unused])
        self.counts_K.masked_fill_(due, 0)
        self.searches.masked_fill_(due, 0)
