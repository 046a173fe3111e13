"""Clustering VQ: rarely used codes move to latents of the batch (CVQ-VAE, Zheng and Vedaldi, 2023, eq. 5-7)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import CODEBOOK_UPDATES

from .gradient_update import GradientUpdate
from .latent_sampling import best_latents, code_counts, from_rank_zero

Anchor = Literal['closest', 'random', 'probrandom']


@CODEBOOK_UPDATES.register_module()
class CVQUpdate(GradientUpdate):
    """The optimizer moves the codes, and after each batch e <- (1 - alpha) e + alpha anchor.

    alpha = exp(-10 K p / (1 - decay) - 1e-3), where p is the running average of the share of latents assigned to the code:
    about 1 for unused codes, 0 for the others. An anchor is a latent of the batch. Usage and anchors are taken over the
    latents of all ranks, so that every rank holds the same codebook. (In the released code each rank overwrites its own
    copy. TiTok's `clustering_vq` is this update with `anchor='closest'`; it gathers all latents.)

    The released model searches by cosine: `normalize=dict(type='CosineSearch')` with `distance=dict(type='DotProduct')`;
    with squared distances of unit vectors the codes are the same, but `'probrandom'` and the contrastive term
    (`ContrastiveRegularizer`) see twice the cosine.

    Args:
        decay: Decay of the usage; 0.99 as released.
        anchor: `'closest'`: the best latent for the code (CVQ, TiTok). `'probrandom'`: drawn from the softmax over latents
            of what the search compares. `'random'`: from a pool of K earlier latents; a batch with more than K latents
            refills it by drawing with repetition, a smaller one replaces random entries. Entries not yet filled hold
            U(-1/K, 1/K), as released. The pool is rank 0's.
        first_batch: Move codes to anchors only after the first batch, the paper's `offline` variant.
        raw_anchors: Take latents before normalization, as TiTok does with `use_l2_norm`, not after it.
        legacy: Overwrite the codes behind autograd's back, as released. The gradient of a term that reads them again in
            the backward pass (`ContrastiveRegularizer` under `CosineSearch`) then mixes old and new codes, so it is not
            a derivative of any loss; only to compare with the release.

    Attributes:
        usage_K: p.
    """

    writes_codes = True
    usage_K: Tensor
    pool_KD: Tensor
    pooled: Tensor
    batches: Tensor

    def __init__(
        self,
        decay: float = 0.99,
        anchor: Anchor = 'closest',
        first_batch: bool = False,
        raw_anchors: bool = False,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise UserError(f'CVQUpdate: decay must lie in [0, 1), got {decay}; 0.99 is usual.')
        if anchor not in ('closest', 'random', 'probrandom'):
            raise UserError(f"CVQUpdate: anchor must be 'closest', 'random' or 'probrandom', got {anchor!r}.")
        self.decay, self.anchor, self.first_batch, self.legacy = decay, anchor, first_batch, legacy
        self.takes_raw_latents, self.overwrites = raw_anchors, not legacy

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        K = codebook_KD.shape[0]
        self._choice: tuple[Any, Any] = (normalize, distance)  # a tuple, so that they do not become submodules
        self.register_buffer('usage_K', torch.zeros_like(codebook_KD[:, 0]))
        if self.first_batch:
            self.register_buffer('batches', torch.zeros((), dtype=torch.int64, device=codebook_KD.device))
        if self.anchor == 'random':
            self.register_buffer('pool_KD', torch.empty_like(codebook_KD).detach().uniform_(-1.0 / K, 1.0 / K))
            self.register_buffer('pooled', torch.zeros((), dtype=torch.int64, device=codebook_KD.device))

    @torch.no_grad()
    def step(self, codebook_KD: Tensor, z_ND: Tensor, indices_N: Tensor) -> None:
        z_ND, K = z_ND.detach().float(), codebook_KD.shape[0]
        counts_K = code_counts(indices_N, K)
        self.usage_K.mul_(self.decay).add_(counts_K / counts_K.sum(), alpha=1.0 - self.decay)
        if self.first_batch:
            self.batches += 1
            if self.batches > 1:
                return
        alpha_K1 = torch.exp(-self.usage_K * (10.0 * K / (1.0 - self.decay)) - 1e-3).unsqueeze(1)
        moved_KD = codebook_KD * (1.0 - alpha_K1) + self._anchors(codebook_KD, z_ND) * alpha_K1
        if self.legacy:
            codebook_KD.data = moved_KD
        else:
            codebook_KD.copy_(moved_KD)

    def _anchors(self, codebook_KD: Tensor, z_ND: Tensor) -> Tensor:
        """A latent (K, D) for each code, the same on every rank."""
        if self.anchor == 'random':
            self._fill_pool(z_ND)
            return from_rank_zero(self.pool_KD)
        normalize, distance = self._choice
        codes_KD = normalize.for_search(normalize.codes(codebook_KD))
        searched_ND = normalize.for_search(normalize.latent(z_ND))
        return best_latents(codes_KD, searched_ND, z_ND, distance, sample=self.anchor == 'probrandom')

    def _fill_pool(self, z_ND: Tensor) -> None:
        (N, _), K = z_ND.shape, self.pool_KD.shape[0]
        if N > K:
            self.pool_KD.copy_(z_ND[torch.randint(0, N, (K,), device=z_ND.device)])
            self.pooled.fill_(K)
        elif (start := int(self.pooled)) < K:
            stop = min(start + N, K)  # the released pool overflows if the last batch does not fit
            self.pool_KD[start:stop] = z_ND[: stop - start]
            self.pooled.fill_(stop)
        else:
            self.pool_KD[torch.randperm(K, device=z_ND.device)[:N]] = z_ND
