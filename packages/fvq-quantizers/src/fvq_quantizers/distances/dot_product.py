"""Dot product, as IBQ uses it (Shi et al., 2025)."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.nearest_code import nearest_code
from fvq_core.registry import DISTANCES


@DISTANCES.register_module(name=['DotProduct', 'dot'])
class DotProduct(nn.Module):
    """The code with the largest dot product wins."""

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes."""
        return nearest_code(z_ND, codebook_KD, 'dot')

    def logits(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """z.e, (N, K), differentiable."""
        return z_ND @ codebook_KD.t()
