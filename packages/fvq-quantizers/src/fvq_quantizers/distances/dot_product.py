"""Dot product, as IBQ uses it (Shi et al., 2025)."""

from __future__ import annotations

from torch import Tensor

from fvq_core.registry import DISTANCES

from .distance import Distance


@DISTANCES.register_module(name=['DotProduct', 'dot'])
class DotProduct(Distance):
    """The code with the largest dot product wins."""

    kind = 'dot'

    def logits(self, z_ND: Tensor, codebook_KD: Tensor, shift_D: Tensor | None = None) -> Tensor:
        """z.e up to a constant per row."""
        return z_ND @ (codebook_KD if shift_D is None else codebook_KD - shift_D).t()
