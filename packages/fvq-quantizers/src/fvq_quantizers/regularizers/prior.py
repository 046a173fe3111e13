"""Prior-distribution regularizer: code usage follows a uniform prior (Reg-VQ, Zhang et al., 2023, arXiv 2303.06424, eq. 1)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.ranks import mean_over_ranks
from fvq_core.registry import REGULARIZERS


@REGULARIZERS.register_module()
class PriorRegularizer(nn.Module):
    """`weight` x KL(posterior || uniform) = `weight` x sum_k p_k log(K p_k): 0 if all codes are used equally, at most log K.

    The paper's posterior p is the mean of the choices at all positions. No code was released; we inferred:

    - *How a mean of one-hot choices gets a gradient.* The text replaces argmax by softmax in the backward pass. `'soft'` is
      the mean of the softmaxes in both passes; `'hard'` counts choices in the forward pass and has the softmaxes' gradient.
      An unused code's log p would be infinite, so p is clamped at `eps` inside the logarithm.
    - *Over what.* The formula sums over one image; here it is the batch of all ranks, since no image can be uniform if K
      exceeds its number of positions.
    - *The logits.* In the paper the encoder predicts K of them; with a codebook they are those of the quantizer's
      distance over `temperature`.
    - *The weight*, which the text does not give.

    The paper's stochastic mask is the estimator `StochasticMask`.

    Args:
        posterior: `'soft'` or `'hard'`, see above.
        eps: Smallest probability inside the logarithm.
    """

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 1.0,
        posterior: Literal['soft', 'hard'] = 'soft',
        eps: float = 1e-8,
    ) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0 or eps <= 0:
            raise UserError(
                'PriorRegularizer: weight must be 0 or more, temperature and eps above 0, '
                f'got {weight}, {temperature} and {eps}.'
            )
        if posterior not in ('soft', 'hard'):
            raise UserError(f"PriorRegularizer: posterior must be 'soft' or 'hard', got {posterior!r}.")
        self.weight, self.temperature, self.posterior, self.eps = weight, temperature, posterior, eps

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, distance: Any) -> dict[str, Tensor]:
        K = codebook_KD.shape[0]
        from ..soft_choices import soft_choice

        _, mean_K = soft_choice(z_ND, codebook_KD, distance, self.temperature)
        if self.posterior == 'hard':
            indices_N = distance.search(z_ND.detach(), codebook_KD.detach())
            shares_K = torch.zeros_like(mean_K).index_add_(0, indices_N, mean_K.new_ones(indices_N.shape))
            mean_K = mean_K + (shares_K / indices_N.numel() - mean_K).detach()
        mean_K = mean_over_ranks(mean_K)
        return {'prior': self.weight * (mean_K * (K * mean_K.clamp(min=self.eps)).log()).sum()}
