"""Index back-propagation (IBQ, Shi et al., 2025, section 3.2): every code gets gradients through a soft choice."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fvq_core.registry import ESTIMATORS

from .estimator import Estimator


@ESTIMATORS.register_module()
class IndexBackpropagation(Estimator):
    """(onehot - sg[soft] + soft) @ codebook: the value of the assigned code, the gradient of both choices.

    The soft choice does not change the value, so only the backward pass computes it, a chunk of rows at a time: no N x K
    matrix is made.
    """

    pairwise = False

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        from ..soft_choices import soft_gradient

        # d/d codebook of (soft - sg[soft]) @ codebook vanishes, so the soft term takes the codebook on its right as constant.
        return F.embedding(indices_N, codebook_KD) + soft_gradient(z_ND, codebook_KD, codebook_KD, distance)
