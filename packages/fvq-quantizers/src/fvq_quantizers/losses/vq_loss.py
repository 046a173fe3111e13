"""Codebook and commitment loss (the paper, eq. 5)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZER_LOSSES

NORMS = dict(l1=F.l1_loss, l2=F.mse_loss)


@QUANTIZER_LOSSES.register_module()
class VQLoss(nn.Module):
    """`codebook_weight` |e - sg[z]|^2 + beta |sg[e] - z|^2, or with beta on the first term (`legacy`).

    VQGAN-LC's 0.1 x (commitment + 0.33 codebook) is `beta=0.1, codebook_weight=0.033`.

    Args:
        beta: Weight of the commitment term; 0.25 in VQ-VAE, VQGAN, LlamaGen and FVQ.
        codebook_weight: Weight of the codebook term; 0 if an update writes the codes (EMA).
        legacy: Put beta on the codebook term instead of the commitment, the well-known slip of the first VQGAN code.
        norm: `'l2'` for squared differences, `'l1'` for absolute ones (an option of OptVQ).
    """

    def __init__(
        self,
        beta: float = 0.25,
        codebook_weight: float = 1.0,
        legacy: bool = False,
        norm: Literal['l1', 'l2'] = 'l2',
    ) -> None:
        super().__init__()
        if not (beta >= 0 and codebook_weight >= 0):
            raise UserError(f'VQLoss: beta and codebook_weight must be 0 or more, got {beta} and {codebook_weight}.')
        if norm not in NORMS:
            raise UserError(f"VQLoss: norm must be 'l1' or 'l2', got {norm!r}.")
        self.difference = NORMS[norm]
        self.codebook_weight = codebook_weight * (beta if legacy else 1.0)
        self.commitment_weight = 1.0 if legacy else beta

    def forward(self, z_ND: Tensor, code_vectors_ND: Tensor, z_q_ND: Tensor) -> dict[str, Tensor]:
        """Weighted scalar terms; terms of weight 0 are left out.

        Args:
            code_vectors_ND: Their codes, with gradient to the codebook.
            z_q_ND: The estimator's output; not used here.
        """
        terms = {}
        if self.commitment_weight:
            terms['commitment'] = self.commitment_weight * self.difference(z_ND, code_vectors_ND.detach())
        if self.codebook_weight:
            terms['codebook'] = self.codebook_weight * self.difference(code_vectors_ND, z_ND.detach())
        return terms
