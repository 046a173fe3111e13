"""The base class of gradient estimators."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Estimator(nn.Module):
    """`(z, codebook, indices, distance) -> z_q`, with the assigned codes as its value.

    The `logits(z, codebook)` of `distance` are what the search compared, including a normalization only for the search.

    An estimator that needs only the latent and its quantized value defines `pair`; it then also works if the quantized
    value is a sum of codes (residual and multi-scale quantizers). One that needs the codebook overrides `forward` and sets
    `pairwise` to False.

    Attributes:
        pairwise: Whether `pair` is defined.
        moves_codes: Whether its purpose is to give codes a gradient, so that it is refused if nothing is trained by it.
    """

    pairwise = True
    moves_codes = False

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        """Attach the estimator's gradient to the quantized value.

        Args:
            z_q_ND: Their quantized value, with gradient to the codes; an estimator that gives codes none detaches it.

        Returns:
            (N, D), equal in value to `z_q_ND` (except for the noise of `DiVeQ`).
        """
        raise NotImplementedError

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        return self.pair(z_ND, F.embedding(indices_N, codebook_KD))
