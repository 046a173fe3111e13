"""The interface of gradient estimators."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Estimator(nn.Module):
    """`(z, codebook, indices, distance) -> z_q`, whose value is the chosen codes.

    An estimator that needs only the latent and its quantized value implements `pair`, and then also works where the
    quantized value is a sum of codes (residual and multi-scale quantizers). One that needs the codebook overrides
    `forward` and leaves `pairwise` False.
    """

    pairwise = True

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        """Attach the estimator's gradient to the quantized value; `z_q_ND` is a constant here."""
        raise NotImplementedError

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor, distance: Any) -> Tensor:
        return self.pair(z_ND, F.embedding(indices_N, codebook_KD.detach()))
