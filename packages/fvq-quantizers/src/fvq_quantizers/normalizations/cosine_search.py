"""Codes are searched by cosine, but returned and trained unnormalized (CVQ's cosine variant, Zheng & Vedaldi, 2023)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fvq_core.registry import NORMALIZATIONS

from .no_normalization import NoNormalization


@NORMALIZATIONS.register_module()
class CosineSearch(NoNormalization):
    """Normalizes latents and codes only for the search."""

    def for_search(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)
