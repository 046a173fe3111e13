"""The straight-through estimator (Bengio et al., 2013; the paper, eq. 4)."""

from __future__ import annotations

from torch import Tensor

from fvq_core.registry import ESTIMATORS

from .estimator import Estimator


@ESTIMATORS.register_module()
class StraightThrough(Estimator):
    """z + sg[z_q - z]: the latent gets the decoder's gradient unchanged, codebook and projector get none."""

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        return z_ND + (z_q_ND - z_ND).detach()
