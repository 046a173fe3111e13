"""A codebook with more or fewer codes than the one that it starts from, chosen by latents of the new images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def resized_codebook(quantizer: Any, old_KD: Tensor, z_ND: Tensor) -> Tensor:
    """The codebook (`quantizer.codebook_size`, D) that starts from another one without a projector.

    A larger one is the old one with latents behind it, drawn with probability proportional to their squared distance to the
    code that they had, as k-means++ draws: new codes begin where the old ones fail, and no old code changes. Copies of
    the most used codes would split cells that the old codes fill well, and would need to know their usage.

    A smaller one keeps the codes that most latents have, in their old order; of those with the same count, the first.

    Args:
        quantizer: The `VectorQuantizer` that starts.
        old_KD: Raw codebook to start from, (any number, D).
        z_ND: Latents after `normalize.latent`; they are drawn again if there are fewer than new codes.
    """
    codes_KD, K = quantizer.map(old_KD), quantizer.codebook_size
    indices_N = quantizer.search(z_ND, codes_KD)
    more = K - len(old_KD)
    if more <= 0:
        counts_K = torch.bincount(indices_N, minlength=len(old_KD))
        return old_KD[counts_K.argsort(descending=True, stable=True)[:K].sort().values]
    error_N = (z_ND - codes_KD[indices_N]).square().sum(1)
    # The largest weight / Exp(1) are a draw without replacement; `multinomial` takes at most 2^24 weights.
    order_N = (error_N / torch.empty_like(error_N).exponential_().clamp_min(1e-30)).argsort(descending=True)
    drawn = order_N[torch.arange(more, device=order_N.device) % len(order_N)]
    return torch.cat([old_KD, z_ND[drawn]])
