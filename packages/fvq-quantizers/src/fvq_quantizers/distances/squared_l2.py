"""Squared Euclidean distance."""

from __future__ import annotations

from torch import Tensor

from fvq_core.registry import DISTANCES

from .distance import Distance


@DISTANCES.register_module(name=['SquaredL2', 'l2'])
class SquaredL2(Distance):
    """The nearest code wins."""

    kind = 'l2'

    def logits(self, z_ND: Tensor, codebook_KD: Tensor, shift_D: Tensor | None = None) -> Tensor:
        """2 z.e - |e|^2, which is minus the squared distance up to a constant per row."""
        if shift_D is not None:
            z_ND, codebook_KD = z_ND - shift_D, codebook_KD - shift_D
        return 2.0 * (z_ND @ codebook_KD.t()) - codebook_KD.square().sum(1)
