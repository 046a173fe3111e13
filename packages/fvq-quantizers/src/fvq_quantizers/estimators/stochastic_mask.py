"""Stochastic mask: some positions draw their code, the others take the best (Reg-VQ, Zhang et al., 2023, arXiv 2303.06424)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import ESTIMATORS

from ..chunked_softmax import sampled_codes
from .estimator import Estimator


@ESTIMATORS.register_module()
class StochasticMask(Estimator):
    """Masked positions draw a code from softmax(logits / temperature); the others take the best code.

    The value is that code; the gradient is that of the Gumbel-softmax (masked) or of the softmax (others) over all codes,
    as in Algorithm 1 of the paper. The drawn codes matter only to the decoder and its losses: the codes that a quantizer
    reports, its codebook and commitment losses and its usage are those of the best code, and in eval nothing is drawn. No
    code was released; that codes get the gradient of the hard choice, and that the logits are those of the quantizer's
    distance, is inferred.

    Args:
        ratio: Share of masked positions, rounded to a whole number of them; 0.4, the best of the paper's figure 3.
        temperature: Temperature of both softmaxes, above 0.
    """

    pairwise = False

    def __init__(self, ratio: float = 0.4, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0.0 <= ratio <= 1.0 or temperature <= 0:
            raise UserError(
                f'StochasticMask: ratio must lie in [0, 1] and temperature be above 0, got {ratio} and {temperature}.'
            )
        self.ratio, self.temperature = ratio, temperature

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        seed = int(torch.randint(2**48, ()))
        order_N = torch.randperm(z_ND.shape[0], device=z_ND.device)
        drawn_M, best_R = order_N.tensor_split([round(self.ratio * z_ND.shape[0])])
        constant_KD = codebook_KD.detach()
        indices_N = indices_N.clone()
        if len(drawn_M):
            indices_N[drawn_M] = sampled_codes(z_ND[drawn_M], constant_KD, distance, self.temperature, seed)
        z_q_ND = F.embedding(indices_N, codebook_KD)
        for rows, noise in ((drawn_M, seed), (best_R, None)):
            if len(rows):
                from ..soft_choices import soft_gradient

                soft = soft_gradient(z_ND[rows], codebook_KD, constant_KD, distance, self.temperature, noise)
                z_q_ND = z_q_ND.index_add(0, rows, soft)
        return z_q_ND
