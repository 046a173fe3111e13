"""The interface of gradient estimators."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Estimator(nn.Module):
    """`(z, codebook, indices, distance) -> z_q`, whose value is the chosen codes.

    `distance` is what the codes were chosen by: its `logits(z, codebook)` are what the search compared, after any
    normalisation for the search alone.

    An estimator that needs only the latent and its quantized value implements `pair`, and then also works where the
    quantized value is a sum of codes (residual and multi-scale quantizers). One that needs the codebook overrides
    `forward` and leaves `pairwise` False.
    """

    pairwise = True
    moves_codes = False  # whether it is there to give the codes a gradient, and pointless where nothing takes one

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        """Attach the estimator's gradient to the quantized value.

        Args:
            z_ND: Latents.
            z_q_ND: Their quantized value, with its gradient to the codes: an estimator that gives the codes none
                detaches it. A caller that wants no gradient to the codes detaches it first.

        Returns:
            (N, D), in value `z_q_ND` (but for the noise of `DiVeQ`).
        """
        raise NotImplementedError

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        return self.pair(z_ND, F.embedding(indices_N, codebook_KD))
