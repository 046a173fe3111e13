"""Latents and codes on the unit sphere; normalized codes are decoded (ViT-VQGAN, LlamaGen)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fvq_core.registry import NORMALIZATIONS

from .no_normalization import NoNormalization


@NORMALIZATIONS.register_module()
class L2Normalize(NoNormalization):
    """Latent and codes are divided by their norm; losses and straight-through act on unit vectors."""

    changes_latent = True

    def latent(self, z_ND: Tensor) -> Tensor:
        return F.normalize(z_ND, dim=-1)

    def codes(self, codebook_KD: Tensor) -> Tensor:
        return F.normalize(codebook_KD, dim=-1)
