"""The double quantization loss of IBQ (Shi et al., 2025, eq. 9)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZER_LOSSES


@QUANTIZER_LOSSES.register_module()
class IBQLoss(nn.Module):
    """|z_q - z|^2 + |sg[e] - z|^2 + beta |e - sg[z]|^2, with gradients through the estimator in the first term.

    Args:
        beta: Weight of the *codebook* term, as released.
    """

    def __init__(self, beta: float = 0.25) -> None:
        super().__init__()
        if not beta >= 0:
            raise UserError(f'IBQLoss: beta must be 0 or more, got {beta}; 0.25 is released.')
        self.beta = beta

    def forward(self, z_ND: Tensor, code_vectors_ND: Tensor, z_q_ND: Tensor) -> dict[str, Tensor]:
        """Weighted scalar terms; the arguments are `VQLoss.forward`'s."""
        return {
            'double': F.mse_loss(z_q_ND, z_ND),
            'commitment': F.mse_loss(z_ND, code_vectors_ND.detach()),
            'codebook': self.beta * F.mse_loss(code_vectors_ND, z_ND.detach()),
        }
