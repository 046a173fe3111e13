"""Latents and codes on the unit sphere; normalized codes are decoded (ViT-VQGAN, LlamaGen)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fvq_core.registry import NORMALIZATIONS

from .no_normalization import NoNormalization


@NORMALIZATIONS.register_module()
class L2Normalize(NoNormalization):
    """Latent and codes are divided by their norm; losses and straight-through act on unit vectors.

    Args:
        straight_to_latent: The estimator's gradient reaches the latent as it was before the division, as if there were none
            (ViT-VQGAN in thuanz123/enhancing-transformers); that of the losses always goes through it.
    """

    changes_latent = True

    def __init__(self, straight_to_latent: bool = False) -> None:
        super().__init__()
        self.straight_to_latent = straight_to_latent

    def latent(self, z_ND: Tensor) -> Tensor:
        return F.normalize(z_ND, dim=-1)

    def for_estimator(self, latents_ND: Tensor, z_ND: Tensor) -> Tensor:
        return latents_ND + (z_ND - latents_ND).detach() if self.straight_to_latent else z_ND

    def codes(self, codebook_KD: Tensor) -> Tensor:
        return F.normalize(codebook_KD, dim=-1)
