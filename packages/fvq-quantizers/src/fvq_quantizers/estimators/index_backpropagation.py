"""Index back-propagation (IBQ, Shi et al., 2025, section 3.2): every code gets gradients through a soft choice."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fvq_core.registry import ESTIMATORS

from ..chunked_softmax import soft_codes
from .estimator import Estimator


@ESTIMATORS.register_module()
class IndexBackpropagation(Estimator):
    """onehot - sg[soft] + soft, times the codebook: the value of the chosen code, the gradient of both choices.

    Row chunks are recomputed in the backward pass, so that no N x K matrix is kept.
    """

    pairwise = False

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        hard = codebook_KD[indices_N]
        # d/d codebook of (soft - sg[soft]) @ codebook vanishes, so the soft term sees a constant codebook on its right.
        soft = soft_codes(z_ND, codebook_KD, codebook_KD.detach(), distance)
        return hard + (soft - soft.detach())
