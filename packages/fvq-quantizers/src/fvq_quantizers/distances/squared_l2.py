"""Squared Euclidean distance."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.nearest_code import nearest_code
from fvq_core.registry import DISTANCES


@DISTANCES.register_module(name=['SquaredL2', 'l2'])
class SquaredL2(nn.Module):
    """The nearest code wins."""

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the nearest codes."""
        return nearest_code(z_ND, codebook_KD, 'l2')

    def logits(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Minus the squared distance up to a constant per row, (N, K), differentiable: 2 z.e - |e|^2."""
        return 2.0 * (z_ND @ codebook_KD.t()) - codebook_KD.square().sum(1)
